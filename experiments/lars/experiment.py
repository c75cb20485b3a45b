"""The experiment's record: `python -m experiments.lars VERB ...`."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.lars.check import check
from experiments.lars.config import Config, OptimizerName, VariantName
from experiments.lars.presets import PRESETS
from lars_jax.runs import Experiment, Program, Verb, cli, default_directory

# What trains, draws or compiles is imported by the verb that needs it: help and lists
# come at once.


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(LARS, words)


@dataclass(frozen=True)
class Compare:
    """Compare optimizers over batch sizes and seeds with an equal tuning budget."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    optimizers: tuple[Literal[OptimizerName, VariantName], ...] = ("lars", "nesterov")
    """Optimizers to compare; the name of a variant is LARS in that form."""
    batches: tuple[int, ...] = (64, 256, 1024)
    """Global batch sizes."""
    seeds: int = 3
    """Runs of each cell at its best rate, evaluated on the test split."""
    trials: int = 5
    """Learning rates tried for each cell, on held-out training examples."""
    tuning_holdout: int = 200
    """Training examples held out for tuning."""
    rate_span: float = 16.0
    """Ratio of the highest rate tried to the lowest, spaced evenly in the logarithm."""
    run_dir: Path | None = None
    """Where the table and the plot are written."""


def _build(config: Config) -> Program[Any]:
    from experiments.lars.run import LarsProgram

    return LarsProgram.create(config)


def _report(directory: Path) -> Path:
    from experiments.lars.results import write_run_report

    return write_run_report(directory)


def _show(config: Config) -> Iterator[str]:
    from experiments.lars.show import describe

    return describe(config)


def _freeze_auto(config: Config, resolved: Mapping[str, Any]) -> Config:
    from experiments.lars.microbatches import freeze_auto

    return freeze_auto(config, resolved)


def _compare(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.lars.compare import Grid, compare

    preset, asked = cli.parse_preset(experiment, Compare, "compare", words)
    grid = Grid(
        **{item.name: getattr(asked, item.name) for item in dataclasses.fields(Grid)}
    )
    directory = asked.run_dir or default_directory(f"compare-{preset.name}")
    print(compare(asked.config, grid, directory))
    return 0


LARS = Experiment(
    command="python -m experiments.lars",
    summary="Train networks with LARS (arXiv 1708.03888).",
    config=Config,
    presets=PRESETS,
    default="digits",
    check=check,
    build=_build,
    report=_report,
    show=_show,
    placement=("devices", "backend", "microbatches", "device_memory", "state_sharding"),
    freeze_auto=_freeze_auto,
    to_evaluate=lambda config: dataclasses.replace(config, microbatches=1),
    verbs={
        "compare": Verb(
            "[PRESET] [--field value ...]",
            "optimizers x batch sizes x seeds, tuned alike",
            _compare,
        )
    },
)
"""LARS on image classification."""
