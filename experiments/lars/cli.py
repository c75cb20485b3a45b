"""The command line: `python -m experiments.lars VERB ...`."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.lars.config import Config, OptimizerName, VariantName
from experiments.lars.presets import PRESETS, get_preset
from lars_jax.runs import (
    Launch,
    Verb,
    default_directory,
    heading,
    overview,
    parse,
    run_among,
    run_command,
    split_preset,
)
from lars_jax.train.cluster import Method, find_cluster
from lars_jax.train.processes import join

PROGRAM = "python -m experiments.lars"
USAGE = f"""usage: {PROGRAM} VERB ...

Train networks with LARS (arXiv 1708.03888).

verbs:
  train [PRESET] [--field value ...]   train; PRESET is digits where left out
  eval RUN_DIR                         evaluate a checkpoint of a run
  export RUN_DIR FILE                  write its weights as .npz or .safetensors
  report RUN_DIR                       write report.html of a run again
  list                                 the presets and what each reproduces
  show [PRESET] [--field value ...]    settings, parameters and memory, without running
  compare [PRESET] [--field value ...] optimizers x batch sizes x seeds, tuned alike

Every verb takes --help. `{PROGRAM} train --help` lists every field of a
configuration with its type, default and meaning.
"""


@dataclass(frozen=True)
class Train(Launch):
    """Train a preset, with any field changed."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    processes: Method = "auto"
    """Where to look for the other processes of the run; none: it is alone."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where the environment does not tell."""
    num_processes: int | None = None
    """Number of processes, where the environment does not tell."""
    process_id: int | None = None
    """Place of this process among them, from 0, where the environment does not tell."""


@dataclass(frozen=True)
class List:
    """List the presets and what each reproduces."""


@dataclass(frozen=True)
class Show:
    """Describe a preset without running it."""

    config: Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a checkpoint of a run on every evaluation example."""

    run_dir: tyro.conf.Positional[Path]
    """Directory that `train` wrote."""
    checkpoint: Literal["last", "best"] = "last"
    """The last state of the run, or the one that evaluated best."""


@dataclass(frozen=True)
class Export:
    """Write the weights of a run to a plain file, which --init-from reads."""

    run_dir: tyro.conf.Positional[Path]
    """Directory that `train` wrote."""
    file: tyro.conf.Positional[Path]
    """File to write, named *.npz or *.safetensors."""
    checkpoint: Literal["last", "best"] = "last"
    """The last state of the run, or the one that evaluated best."""


@dataclass(frozen=True)
class Report:
    """Write report.html from the files of a run, finished or not."""

    run_dir: tyro.conf.Positional[Path]
    """Directory that `train` wrote."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status.

    See `lars_jax.runs.ending`; except for 0, a line on standard error says why.
    """
    return run_command(arguments, _VERBS, program=PROGRAM, usage=USAGE)


def _train(words: list[str]) -> int:
    from experiments.lars.run import train

    name, rest = split_preset(words, PRESETS, "digits")
    asked = parse(
        Train,
        rest,
        prog=f"{PROGRAM} train [PRESET]",
        default=Train(get_preset(name).config),
    )
    cluster = find_cluster(
        os.environ,
        method=asked.processes,
        coordinator=asked.coordinator,
        num_processes=asked.num_processes,
        process_id=asked.process_id,
    )
    processes = join(cluster)

    def run() -> int:
        outcome = train(
            asked.config,
            asked.run_dir or default_directory(name),
            name=name,
            resume=asked.going_on,
            processes=processes,
            grace=asked.grace,
        )
        return outcome.status

    return run() if processes.alone else run_among(processes, run)


def _evaluate(words: list[str]) -> int:
    from experiments.lars.run import evaluate

    asked = parse(Evaluate, words, prog=f"{PROGRAM} eval")
    found = evaluate(asked.run_dir, which=asked.checkpoint)
    print(
        f"step {found['step']:.0f}: accuracy {100 * found['accuracy']:.2f} % of "
        f"{found['count']:.0f}, loss {found['loss']:.4f}"
    )
    return 0


def _export(words: list[str]) -> int:
    from experiments.lars.run import export

    asked = parse(Export, words, prog=f"{PROGRAM} export")
    step = export(asked.run_dir, asked.file, which=asked.checkpoint)
    print(f"weights after step {step}: {asked.file}")
    return 0


def _report(words: list[str]) -> int:
    from experiments.lars.results import write_run_report

    print(write_run_report(parse(Report, words, prog=f"{PROGRAM} report").run_dir))
    return 0


def _list(words: list[str]) -> int:
    parse(List, words, prog=f"{PROGRAM} list")
    print("\n".join(overview(PRESETS)))
    return 0


def _show(words: list[str]) -> int:
    from experiments.lars.check import check
    from experiments.lars.show import describe

    name, rest = split_preset(words, PRESETS, "digits")
    preset = get_preset(name)
    asked = parse(
        Show, rest, prog=f"{PROGRAM} show [PRESET]", default=Show(preset.config)
    )
    print("\n".join([*heading(preset), *describe(check(asked.config))]))
    return 0


def _compare(words: list[str]) -> int:
    from experiments.lars.compare import Grid, compare

    name, rest = split_preset(words, PRESETS, "digits")
    asked = parse(
        Compare,
        rest,
        prog=f"{PROGRAM} compare [PRESET]",
        default=Compare(get_preset(name).config),
    )
    grid = Grid(
        **{item.name: getattr(asked, item.name) for item in dataclasses.fields(Grid)}
    )
    directory = asked.run_dir or default_directory(f"compare-{name}")
    print(compare(asked.config, grid, directory))
    return 0


_VERBS: dict[str, Verb] = {
    "train": _train,
    "eval": _evaluate,
    "export": _export,
    "report": _report,
    "list": _list,
    "show": _show,
    "compare": _compare,
}
