"""What all runs behind the tables share; where it differs they are not comparable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.transitive.config import Config
from experiments.transitive.transfer.plan import Plan
from lars_jax.train.config import difference, from_json, replace_fields, to_json


@dataclass(frozen=True)
class Shared:
    """What all runs behind the tables share.

    Attributes:
        config: of the pipeline, which the methods change.
        plan: what networks are carried to.
        presets: that networks are trained by there, by task.
        data: digests of what is read, by what it is; runs need not read all of it.
    """

    config: Config
    plan: Plan
    presets: Mapping[str, Any]
    data: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return it for a file."""
        presets = {task: to_json(one) for task, one in self.presets.items()}
        own = {"config": to_json(self.config), "plan": to_json(self.plan)}
        return own | {"presets": presets, "data": dict(self.data)}

    def changes(self, found: Mapping[str, Any]) -> list[str]:
        """Return what differs from what a file says, a line for each.

        What each row says of itself may differ, and what is younger than the file, or
        was not read by its runs, counts as the same.

        Args:
            found: what `to_json` returned, perhaps of an older version.

        Raises:
            InputError: it is of no version that is known.

        >>> shared = Shared(Config(), Plan(), {}, {"fast": "a"})
        >>> shared.changes({"config": {}, "plan": {"seeds": 9, "detector_steps": 7}})
        ['plan.detector_steps: 7 -> 500']
        >>> shared.changes({"config": {}, "plan": {}, "data": {"fast": "b"}})
        ['data.fast: b -> a']
        """
        presets = {
            task: from_json(type(preset), found["presets"][task])
            for task, preset in self.presets.items()
            if task in found.get("presets", {})
        }
        data = found.get("data", {})
        before = Shared(
            from_json(Config, found.get("config", {})),
            from_json(Plan, found.get("plan", {})),
            {**self.presets, **presets},
            {name: data.get(name, one) for name, one in self.data.items()},
        )
        return difference(before._comparable(), self._comparable())

    def _comparable(self) -> dict[str, Any]:
        free = {"tables": Plan.tables, "seeds": Plan.seeds, "frozen": Plan.frozen}
        config = replace_fields(self.config, seed=Config.seed)
        plan = replace_fields(self.plan, **free)
        return Shared(config, plan, self.presets, self.data).to_json()
