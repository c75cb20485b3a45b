"""The command line: `python -m experiments.mgan VERB ...`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.mgan.config import Config
from experiments.mgan.presets import PRESETS, get_preset
from lars_jax.runs import (
    Launch,
    Verb,
    default_directory,
    heading,
    overview,
    parse,
    run_command,
    split_preset,
)

PROGRAM = "python -m experiments.mgan"
DEFAULT = "ring"
USAGE = f"""usage: {PROGRAM} VERB ...

Train generative adversarial nets with K generators (MGAN, arXiv 1708.02556).

verbs:
  train [PRESET] [--field value ...]   play; PRESET is {DEFAULT} where left out
  eval RUN_DIR [--field value ...]     measure a checkpoint of a run
  samples RUN_DIR FILE                 draw samples of a checkpoint into an .npz file
  export RUN_DIR FILE                  write its generators as .npz or .safetensors
  report RUN_DIR                       write report.html and its pictures again
  list                                 the presets and what each reproduces
  show [PRESET] [--field value ...]    settings and networks, without running
  compare PRESET ... [--seeds N]       methods x seeds, with curves and samples

Every verb takes --help. `{PROGRAM} train --help` lists every field of a
configuration with its type, default and meaning.
"""


RunDirectory = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
File = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class Train(Launch):
    """Train a preset, with any field changed."""

    config: Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class List:
    """List the presets and what each reproduces."""


@dataclass(frozen=True)
class Show:
    """Describe a preset without running it."""

    config: Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Evaluate:
    """Measure a checkpoint of a run."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""
    checkpoint: Literal["last", "best"] = "last"
    """The last state of the run, or the one nearest to the data."""
    samples: int | None = None
    """Samples of the mixture to draw; None: as many as in training."""
    features: str | None = None
    """FILE of Inception weights, or NETWORK:FILE of a classifier; judges images."""


@dataclass(frozen=True)
class Draw:
    """Draw samples of a checkpoint into an .npz file: `values`, `generator`."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""
    file: File
    """File to write, named *.npz."""
    samples: int = 10_000
    """Samples of the mixture."""
    checkpoint: Literal["last", "best"] = "last"
    """The last state of the run, or the one nearest to the data."""
    average: bool = True
    """Samples of the averaged generators, or of those that play."""


@dataclass(frozen=True)
class Export:
    """Write the averaged generators of a run to a plain file."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""
    file: File
    """File to write, named *.npz or *.safetensors."""
    checkpoint: Literal["last", "best"] = "last"
    """The last state of the run, or the one nearest to the data."""


@dataclass(frozen=True)
class Report:
    """Write report.html and its pictures from the files of a run, finished or not."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""


@dataclass(frozen=True)
class Compare:
    """Play presets with several seeds each; a table, curves and samples of all."""

    presets: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PRESET ...")
    ]
    """Presets to compare, on the same data."""
    seeds: int = 5
    """Runs of each preset, with seeds 0, 1, 2 ..."""
    steps: int | None = None
    """Length of every run; None: as the presets say."""
    run_dir: Path | None = None
    """Where runs, table and figures are written; runs that are there go on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status.

    See `lars_jax.runs.ending`; except for 0, a line on standard error says why.
    """
    return run_command(arguments, _VERBS, program=PROGRAM, usage=USAGE)


def _train(words: list[str]) -> int:
    from experiments.mgan.run import train

    name, rest = split_preset(words, PRESETS, DEFAULT)
    asked = parse(
        Train,
        rest,
        prog=f"{PROGRAM} train [PRESET]",
        default=Train(get_preset(name).config),
    )
    outcome = train(
        asked.config,
        asked.run_dir or default_directory(name),
        name=name,
        resume=asked.going_on,
        grace=asked.grace,
    )
    return outcome.status


def _evaluate(words: list[str]) -> int:
    from experiments.mgan.run import evaluate
    from experiments.mgan.session import tell_evaluation

    asked = parse(Evaluate, words, prog=f"{PROGRAM} eval")
    changes = {"eval_samples": asked.samples, "features": asked.features}
    found = evaluate(
        asked.run_dir,
        which=asked.checkpoint,
        say=print,
        **{name: value for name, value in changes.items() if value is not None},
    )
    print(f"step {found.pop('step'):.0f}: {tell_evaluation(found)}")
    return 0


def _samples(words: list[str]) -> int:
    from experiments.mgan.run import draw

    asked = parse(Draw, words, prog=f"{PROGRAM} samples")
    step = draw(
        asked.run_dir,
        asked.file,
        asked.samples,
        which=asked.checkpoint,
        averaged=asked.average,
    )
    print(f"{asked.samples} samples after step {step}: {asked.file}")
    return 0


def _export(words: list[str]) -> int:
    from experiments.mgan.run import export

    asked = parse(Export, words, prog=f"{PROGRAM} export")
    step = export(asked.run_dir, asked.file, which=asked.checkpoint)
    print(f"generators after step {step}: {asked.file}")
    return 0


def _report(words: list[str]) -> int:
    from experiments.mgan.results import write_game_page

    print(write_game_page(parse(Report, words, prog=f"{PROGRAM} report").run_dir))
    return 0


def _list(words: list[str]) -> int:
    parse(List, words, prog=f"{PROGRAM} list")
    print("\n".join(overview(PRESETS)))
    return 0


def _show(words: list[str]) -> int:
    from experiments.mgan.check import check
    from experiments.mgan.show import describe

    name, rest = split_preset(words, PRESETS, DEFAULT)
    preset = get_preset(name)
    asked = parse(
        Show, rest, prog=f"{PROGRAM} show [PRESET]", default=Show(preset.config)
    )
    print("\n".join([*heading(preset), *describe(check(asked.config))]))
    return 0


def _compare(words: list[str]) -> int:
    from experiments.mgan.compare import compare

    asked = parse(Compare, words, prog=f"{PROGRAM} compare")
    directory = asked.run_dir or default_directory("compare")
    presets = {name: get_preset(name).config for name in asked.presets}
    if asked.steps is not None:
        presets = {
            name: dataclasses.replace(config, steps=asked.steps)
            for name, config in presets.items()
        }
    outcome = compare(presets, asked.seeds, directory)
    print(outcome.table, end="")
    return outcome.status


_VERBS: dict[str, Verb] = {
    "train": _train,
    "eval": _evaluate,
    "samples": _samples,
    "export": _export,
    "report": _report,
    "list": _list,
    "show": _show,
    "compare": _compare,
}
