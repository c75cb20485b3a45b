"""The commands of the pipeline: `python -m experiments.transitive VERB ...`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.transitive.beam import choose_runner
from experiments.transitive.check import check
from experiments.transitive.config import Config
from experiments.transitive.presets import PRESETS
from experiments.transitive.transfer.plan import Plan
from lars_jax.errors import InputError
from lars_jax.runs import (
    Experiment,
    Positive,
    PositiveFloat,
    Verb,
    check_stages,
    cli,
    run_directory,
    run_stages,
)
from lars_jax.runs.directory import holds_run, saved_config, write_record
from lars_jax.runs.files import warn
from lars_jax.runs.paths import absolute_paths
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import digest, flatten, to_json
from lars_jax.train.record import write_text

# What reads video, trains or draws is imported by the stage that needs it: help and
# lists come at once.


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(TRANSITIVE, words)


@dataclass(frozen=True)
class Run:
    """Run the pipeline, or what is missing of it, and write its report."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Where stages write; the same directory goes on where it was stopped."""
    only: str | None = None
    """Run this stage alone; those that it needs must be current."""
    force: tuple[str, ...] = ()
    """Stages to run though they are current."""
    runner: str | None = None
    """What mines and tracks, with the same result: pool; direct, Beam's own; or another
    that Beam knows, as flink. Left out: direct where Beam is installed, else pool."""
    runner_options: str = ""
    """Flags of Beam for the runner, as --runner-options="--parallelism=8 ..."."""


@dataclass(frozen=True)
class Train(Run):
    """Train the triplet network alone, or context with --only context where something
    is made of it.
    """

    only: str | None = "triplet"
    """The stage to run; those that it needs must be current."""


def _run(
    kind: type[Run], verb: str, experiment: Experiment[Config], words: list[str]
) -> int:
    from experiments.transitive.results import write_pipeline_report
    from experiments.transitive.stages import make_stages

    preset, asked = cli.parse_preset(experiment, kind, verb, words)
    config, only = check(absolute_paths(asked.config)), asked.only
    runner = choose_runner(asked.runner, asked.runner_options)
    stages = make_stages(config, runner)
    if only == "context" and not config.uses_context:
        raise InputError(
            "context prediction is trained where something is made of it; got --only "
            "context without: set --init context or --features context"
        )
    check_stages(stages, only, asked.force)
    if only is not None and asked.run_dir is None:
        raise InputError(
            f"a stage alone needs those before it; got --only {only} and no --run-dir: "
            "name the directory of a pipeline"
        )
    record = {"preset": preset.name, "digest": digest(config)}

    def begin() -> None:
        if holds_run(place):
            saved_config(Config, place)  # Refuses the run of another experiment.
        write_record(place, record | {"config": to_json(config)})

    with Interrupt() as interrupt, run_directory(asked.run_dir, preset.name) as place:
        try:
            run_stages(
                stages,
                config,
                place,
                only=only,
                force=asked.force,
                interrupt=interrupt,
                say=warn,
                begin=begin,
            )
        except Interrupted:
            warn(f"stopped; the same command with --run-dir {place} goes on")
            return interrupt.exit_status
        print(f"report: {write_pipeline_report(place)}")
    return 0


@dataclass(frozen=True)
class Compare:
    """Run the pipeline with each kind of pairs and each seed, and compare features."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Where runs are; the same directory goes on where it was stopped."""
    seeds: Positive = 5
    """Runs of each kind of pairs, with seeds from that of the configuration on."""


def _compare(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.transitive.compare import VARIANTS, markdown, run_cells

    preset, asked = cli.parse_preset(experiment, Compare, "compare", words)
    config = check(absolute_paths(asked.config))
    seeds = range(config.seed, config.seed + asked.seeds)
    name = f"compare-{preset.name}"
    with Interrupt() as interrupt, run_directory(asked.run_dir, name) as place:
        try:
            rows = run_cells(config, VARIANTS, seeds, place, interrupt=interrupt)
        except Interrupted:
            warn(f"stopped; the same command with --run-dir {place} goes on")
            return interrupt.exit_status
        table = markdown(rows)
        write_text(place / "table.md", table)
        print(table)
    return 0


@dataclass(frozen=True)
class Transfer:
    """Carry networks that learned from video to detection and to surface normals, and
    write the paper's tables beside what is found.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    plan: Annotated[Plan, tyro.conf.arg(name="")] = Plan()
    run_dir: Path | None = None
    """Where runs are; the same directory goes on where it was stopped."""
    hours: PositiveFloat | None = None
    """Hours after which no run begins; left out: all run."""


def _transfer(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.transitive.transfer.runs import run_transfer, write_tables

    # Networks that are wide and deep enough for the tables, unless another is named.
    narrow = replace(experiment, default="transfer")
    preset, asked = cli.parse_preset(narrow, Transfer, "transfer", words)
    config, plan = check(absolute_paths(asked.config)), absolute_paths(asked.plan)
    name = f"transfer-{preset.name}"
    with Interrupt() as interrupt, run_directory(asked.run_dir, name) as place:
        try:
            rows = run_transfer(
                config, plan, place, hours=asked.hours, interrupt=interrupt, say=warn
            )
        except Interrupted:
            warn(f"stopped; the same command with --run-dir {place} goes on")
            return interrupt.exit_status
        print(write_tables(plan, rows, place), end="")
    return 0


def _detect(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.transitive.detection.experiment import DETECTION
    from experiments.transitive.detection.own_pictures import detect_in

    return detect_in(DETECTION, words)


def _normals(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.transitive.normals.experiment import NORMALS
    from experiments.transitive.normals.own_pictures import tell_of

    return tell_of(NORMALS, words)


def _report(directory: Path) -> Path:
    from experiments.transitive.results import write_pipeline_report

    return write_pipeline_report(directory)


def _compile(config: Config, mesh: Any, memory: int) -> tuple[str, Any]:
    from experiments.transitive.ahead import compile_training

    return compile_training(config, mesh, memory)


def _show(config: Config) -> Iterator[str]:
    from experiments.transitive.stages import make_stages

    settings = flatten(to_json(config))
    width = max(map(len, settings))
    for name, value in settings.items():
        yield f"{name:{width}}  {value}"
    yield ""
    yield f"{'stage':{width}}  needs"
    for stage in make_stages(config):
        yield f"{stage.name:{width}}  {', '.join(stage.needs)}"


TRANSITIVE = Experiment(
    command="python -m experiments.transitive",
    summary="Features from unlabelled video (arXiv 1708.02901).",
    config=Config,
    presets=PRESETS,
    default="demo",
    check=check,
    build=None,
    report=_report,
    show=_show,
    compile=_compile,
    verbs={
        "run": Verb(
            "[PRESET] [--field value ...]",
            "the pipeline, or what is missing",
            partial(_run, Run, "run"),
        ),
        "train": Verb(
            "[PRESET] --run-dir DIR [--only context]",
            "a network of a pipeline, its stages before being there",
            partial(_run, Train, "train"),
        ),
        "compare": Verb(
            "[PRESET] [--field value ...] [--seeds N]",
            "kinds of pairs x seeds, by what their features are good for",
            _compare,
        ),
        "transfer": Verb(
            "[PRESET] [--tables 1 2 3 5] [--dataset voc:PATH] [--frames PATH]",
            "the paper's tables: networks carried to detection and to normals",
            _transfer,
        ),
        "detect": Verb(
            "RUN_DIR IMAGE ... [--out DIR]",
            "what a trained detector finds in pictures, drawn",
            _detect,
        ),
        "normals": Verb(
            "RUN_DIR IMAGE ... [--out DIR]",
            "the surface normals of pictures, by a trained network, drawn",
            _normals,
        ),
    },
)
"""From raw video to features."""
