"""The commands of detectors: `python -m experiments.transitive.detection VERB ...`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.transitive.detection.check import check
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.presets import PRESETS
from lars_jax.runs import Experiment, Program, Sources, Verb, cli


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(DETECTION, words)


def _compile(config: Config, mesh: Any, memory: int) -> tuple[str, Any]:
    from experiments.transitive.detection.ahead import compile_training

    return compile_training(config, mesh, memory)


def _sources(config: Config) -> Sources:
    from experiments.transitive.detection.load import load_pictures

    return load_pictures(config)


def _build(config: Config, sources: Sources) -> Program[Any]:
    from experiments.transitive.detection.load import search_in
    from experiments.transitive.detection.program import DetectorProgram
    from lars_jax.train.interrupt import NEVER

    train, test = sources["train"], sources["test"]
    # The shell gives up what is built when a signal comes.
    regions = [search_in(config, split.pictures, NEVER) for split in (train, test)]
    return DetectorProgram(config, train, test, *regions)


def _detect(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.transitive.detection.own_pictures import detect_in

    return detect_in(experiment, words)


def _report(directory: Path) -> Path:
    from experiments.transitive.detection.results import write_detection_report

    return write_detection_report(directory)


def _show(config: Config) -> Iterator[str]:
    from experiments.transitive.detection.show import describe

    return describe(config)


DETECTION = Experiment(
    command="python -m experiments.transitive.detection",
    summary="Fast and Faster R-CNN, to see what features are good for.",
    config=Config,
    presets=PRESETS,
    default="small_fast",
    check=check,
    sources=_sources,
    build=_build,
    compile=_compile,
    report=_report,
    show=_show,
    verbs={
        "detect": Verb(
            "RUN_DIR IMAGE ... [--out DIR]",
            "what a trained detector finds in pictures, drawn",
            _detect,
        )
    },
)
"""Detection on annotated pictures."""
