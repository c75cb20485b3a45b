"""What a run's `config.json` says of the choices that were left to the machine.

Parts may change when a run goes on elsewhere, for they do not change its numbers. A
span per device does, so it stays what it was where the run began.
"""

from pathlib import Path
from typing import Any

from experiments.lars.config import Config, replace
from experiments.lars.results import read_run
from experiments.lars.trainer import Trainer


def resolved(trainer: Trainer) -> dict[str, Any]:
    """Return what the record of a run keeps of how its batch was cut."""
    return {
        "microbatches": trainer.config.microbatches,
        "bn_span": trainer.config.model.bn_span,
        "reason": trainer.parts,
    }


def pinned(config: Config, directory: Path) -> Config:
    """Return a configuration with the span that its run, if begun, has.

    Args:
        config: as asked for.
        directory: of the run; without a `config.json` there is nothing to keep to.

    >>> pinned(Config(), Path("nowhere")) == Config()
    True
    """
    if config.model.bn_span != "per_device" or not (directory / "config.json").exists():
        return config
    span = read_run(directory).get("resolved", {}).get("bn_span", "per_device")
    return replace(config, bn_span=span)


def for_evaluation(config: Config, directory: Path) -> Config:
    """Return the configuration of a run that is not trained, in any parts."""
    return replace(pinned(config, directory), microbatches=1)
