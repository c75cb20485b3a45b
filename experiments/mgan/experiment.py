"""The experiment's record: `python -m experiments.mgan VERB ...`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.mgan.check import check
from experiments.mgan.config import Config, FeaturesText
from experiments.mgan.presets import PRESETS, get_preset
from lars_jax.errors import InputError
from lars_jax.runs import (
    Experiment,
    Positive,
    Program,
    Sources,
    Verb,
    cli,
    run_directory,
)
from lars_jax.train.config import replace_fields

DRAW_USE = 2
"""Tells samples that are asked for from those that are measured or shown."""

# What trains, draws or compiles is imported by the verb that needs it: help and lists
# come at once.


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(MGAN, words)


@dataclass(frozen=True)
class Evaluate(cli.Evaluate):
    """Measure a checkpoint of a run."""

    eval_samples: Annotated[Positive | None, tyro.conf.arg(name="samples")] = None
    """Samples of the mixture to draw; None: as many as in training."""
    features: FeaturesText | None = None
    """FILE of Inception weights, or NETWORK:FILE of a classifier; measures images."""


@dataclass(frozen=True)
class Draw(cli.ReadOptions):
    """Draw samples of a checkpoint into an .npz file: `values`, `generator`."""

    run_dir: cli.RunDirectory
    """Directory that `train` wrote."""
    file: cli.File
    """File to write, named *.npz."""
    samples: Positive = 10_000
    """Samples of the mixture."""
    average: bool = True
    """Samples of the averaged generators, or of those that play."""


@dataclass(frozen=True)
class Compare:
    """Train presets with several seeds each; a table, curves and samples of all."""

    presets: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PRESET ...")
    ]
    """Presets to compare, on the same data."""
    seeds: Positive = 5
    """Runs of each preset, with seeds 0, 1, 2 ..."""
    steps: Positive | None = None
    """Length of every run; None: as the presets say."""
    run_dir: Path | None = None
    """Where runs, table and figures are written; runs that are there go on."""


def _sources(config: Config) -> Sources:
    from experiments.mgan.inputs import open_sources

    return open_sources(config)


def _files(config: Config) -> dict[str, Path]:
    from experiments.mgan.evaluation import features_file

    return (
        {} if config.features is None else {"features": features_file(config.features)}
    )


def _build(config: Config, sources: Sources) -> Program[Any]:
    from experiments.mgan.run import GameProgram

    return GameProgram(config, sources)


def _report(directory: Path) -> Path:
    from experiments.mgan.results import write_game_page

    return write_game_page(directory)


def _show(config: Config) -> Iterator[str]:
    from experiments.mgan.show import describe

    return describe(config)


def _compile(config: Config, mesh: Any, memory: int) -> tuple[str, Any]:
    from experiments.mgan.ahead import compile_training

    return compile_training(config, mesh, memory)


def _samples(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.mgan.inputs import to_bytes
    from lars_jax.runs.restore import restore
    from lars_jax.train.weights import save_weights

    asked = cli.parse(Draw, words, prog=f"{experiment.command} samples")
    file, count = asked.file, asked.samples
    if file.suffix != ".npz" or not file.parent.is_dir() or file.is_dir():
        raise InputError(
            "samples must be written to a file *.npz in a directory that is there; got "
            f"{file}: name another"
        )
    # What it is measured by need not be there any more.
    unneeded: dict[str, Any] = dict.fromkeys(experiment.measured_by)
    options = asked.options | unneeded
    found = restore(experiment, asked.run_dir, asked.checkpoint, **options)
    values, generator = found.program.sample(
        found.state, count, averaged=asked.average, use=DRAW_USE
    )
    if found.program.inputs.image is not None:
        values = to_bytes(values)
    save_weights(file, {"values": values, "generator": generator})
    print(f"{count} samples after step {found.step}: {file}")
    return 0


def _compare(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.mgan.compare import compare

    asked = cli.parse(Compare, words, prog=f"{experiment.command} compare")
    if not asked.presets or len(set(asked.presets)) < len(asked.presets):
        raise InputError(
            "a comparison needs presets, each once; got "
            f"{' '.join(asked.presets) or 'none'}: name them after the verb"
        )
    presets = {name: get_preset(name).config for name in asked.presets}
    if asked.steps is not None:
        call = math.lcm(*(config.steps_per_call for config in presets.values()))
        if left := -asked.steps % call:
            raise InputError(
                f"steps must be a multiple of the {call} that these presets take in a "
                f"call; got {asked.steps}: choose --steps {asked.steps + left}"
            )
        presets = {
            name: replace_fields(config, steps=asked.steps)
            for name, config in presets.items()
        }
    with run_directory(asked.run_dir, "compare") as directory:
        status, table = compare(experiment, presets, asked.seeds, directory)
    print(table, end="")
    return status


MGAN = Experiment(
    command="python -m experiments.mgan",
    summary=(
        "Train generative adversarial nets with K generators (MGAN, arXiv 1708.02556)."
    ),
    config=Config,
    presets=PRESETS,
    default="ring",
    check=check,
    sources=_sources,
    files=_files,
    build=_build,
    report=_report,
    show=_show,
    compile=_compile,
    evaluate_flags=Evaluate,
    measured_by=("features",),
    verbs={
        "samples": Verb(
            "RUN_DIR FILE", "draw samples of a checkpoint into an .npz file", _samples
        ),
        "compare": Verb(
            "PRESET ... [--seeds N]",
            "methods x seeds, with curves and samples",
            _compare,
        ),
    },
)
"""A mixture of generators."""
