"""The experiment's record: `python -m experiments.lars VERB ...`."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.lars.check import check
from experiments.lars.config import Config, Grid
from experiments.lars.microbatches import freeze_auto
from experiments.lars.presets import PRESETS
from lars_jax.runs import Experiment, Program, Sources, Verb, cli, run_directory
from lars_jax.runs.files import warn

# What trains, draws or compiles is imported by the verb that needs it: help and lists
# come at once.


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(LARS, words)


@dataclass(frozen=True)
class Compare:
    """Compare optimizers over batch sizes and seeds with an equal tuning budget."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    grid: Annotated[Grid, tyro.conf.arg(name="")] = Grid()
    run_dir: Path | None = None
    """Where the table and the plot are written; a comparison that is there goes on."""


def _sources(config: Config) -> Sources:
    from experiments.lars.inputs import open_sources

    return open_sources(config)


def _build(config: Config, sources: Sources) -> Program[Any]:
    from experiments.lars.trainer import Trainer

    return Trainer.create(config, sources)


def _report(directory: Path) -> Path:
    from experiments.lars.results import write_run_report

    return write_run_report(directory)


def _show(config: Config) -> Iterator[str]:
    from experiments.lars.show import describe

    return describe(config)


def _compile(config: Config, mesh: Any, memory: int) -> tuple[str, Any]:
    from experiments.lars.ahead import compile_training

    return compile_training(config, mesh, memory)


def _compare(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.lars.cells import refuse_tuned
    from experiments.lars.compare import compare

    preset, asked = cli.parse_preset(experiment, Compare, "compare", words)
    refuse_tuned(asked.config, preset.config)
    with run_directory(asked.run_dir, f"compare-{preset.name}") as directory:
        try:
            print(compare(asked.config, asked.grid, directory))
        except KeyboardInterrupt:
            # Each run is kept as it ends.
            warn(f"stopped; the same command with --run-dir {directory} goes on")
            return 130
    return 0


def _to_evaluate(config: Config) -> Config:
    import jax

    there = jax.device_count()
    # As many as share out a batch evenly, where the run has had others than there are.
    devices = math.gcd(config.global_batch, min(config.devices or there, there))
    return dataclasses.replace(config, microbatches=1, devices=devices)


LARS = Experiment(
    command="python -m experiments.lars",
    summary="Train networks with LARS (arXiv 1708.03888).",
    config=Config,
    presets=PRESETS,
    default="digits",
    check=check,
    sources=_sources,
    build=_build,
    report=_report,
    show=_show,
    compile=_compile,
    placement=("devices", "backend", "microbatches", "device_memory", "state_sharding"),
    freeze_auto=freeze_auto,
    to_evaluate=_to_evaluate,
    verbs={
        "compare": Verb(
            "[PRESET] [--field value ...]",
            "optimizers x batch sizes x seeds, tuned alike",
            _compare,
        )
    },
)
"""LARS on image classification."""
