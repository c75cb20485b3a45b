"""`detect RUN IMAGE ...`: what a trained detector finds in a user's own pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.transitive.detection.annotated import (
    Picture,
    pack_objects,
    read_pixels,
    size_on_disk,
)
from experiments.transitive.detection.batches import Pictures
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.gallery import draw_detections
from experiments.transitive.own_pictures import require_names
from lars_jax.files import make_directory
from lars_jax.report import save_png
from lars_jax.runs import Experiment
from lars_jax.runs.arguments import parse
from lars_jax.runs.restore import restore
from lars_jax.train import Interrupt, Interrupted


@dataclass(frozen=True)
class Detect:
    """Draw what a trained detector finds in pictures."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory that `train` wrote."""
    images: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE")
    ]
    """Pictures to look at."""
    out: Path = Path("detections")
    """Directory that gets a PNG for each, under its name."""
    least: float = 0.5
    """Probability from which on a detection is drawn."""


def detect_in(experiment: Experiment[Config], words: list[str]) -> int:
    """Run the verb and return the exit status.

    Raises:
        InputError: no picture, two of one name, or one that cannot be read.
    """
    asked = parse(Detect, words, prog=f"{experiment.command} detect")
    pictures = _pictures(asked.images)
    with Interrupt() as interrupt:
        try:
            return _draw(experiment, asked, pictures, interrupt)
        except Interrupted:
            return interrupt.exit_status


def _draw(
    experiment: Experiment[Config],
    asked: Detect,
    pictures: Sequence[Picture],
    interrupt: Interrupt,
) -> int:
    from experiments.transitive.detection.load import search_in
    from experiments.transitive.detection.program import DetectorProgram, find_all

    restored = restore(experiment, asked.run_dir)
    program = restored.program
    assert isinstance(program, DetectorProgram), "the run is a detector's"
    data = program.config.data
    regions = search_in(program.config, [p.path for p in pictures], interrupt)
    shown = Pictures(tuple(pictures), regions, data.short_side, data.long_side)
    found = find_all(program, restored.state.params, shown, interrupt)
    make_directory(asked.out)
    for picture, one in zip(pictures, found, strict=True):
        drawn = draw_detections(
            read_pixels(picture), one, program.classes, least=asked.least
        )
        path = asked.out / f"{picture.name}.png"
        save_png(path, drawn)
        names = [
            f"{program.classes[kind]} {score:.2f}"
            for kind, score in zip(one.classes, one.scores, strict=True)
            if score >= asked.least
        ]
        print(f"{picture.path}: {', '.join(names) or 'nothing'}; {path}")
    return 0


def _pictures(paths: Sequence[Path]) -> list[Picture]:
    require_names(paths)
    found = []
    for path in paths:
        height, width = size_on_disk(path)
        found.append(
            Picture(path=path, height=height, width=width, **pack_objects([], [], []))
        )
    return found
