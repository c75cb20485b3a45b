"""`detect RUN IMAGE ...`: what a trained detector finds in a user's own pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated as Hint

import tyro

from experiments.transitive.detection.annotated import (
    Annotated,
    Detections,
    Picture,
    pack_objects,
    read_pixels,
    size_on_disk,
)
from experiments.transitive.detection.batches import Pictures
from experiments.transitive.detection.config import Config, Share
from experiments.transitive.detection.gallery import draw_detections
from experiments.transitive.own_pictures import places_for
from lars_jax.files import make_directory
from lars_jax.report import save_png
from lars_jax.runs import Experiment, check_ranges, read_run
from lars_jax.runs.arguments import parse
from lars_jax.runs.cli import Checkpoint
from lars_jax.runs.files import warn
from lars_jax.runs.restore import config_to_evaluate, read_state
from lars_jax.train import Interrupt, Interrupted


@dataclass(frozen=True)
class Detect:
    """Draw what a trained detector finds in pictures."""

    run_dir: Hint[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory that `train` wrote."""
    images: Hint[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE")]
    """Pictures to look at."""
    out: Path = Path("detections")
    """Directory that gets a PNG for each, under its name."""
    checkpoint: Checkpoint = "last"
    """The last state of the run, or the one that evaluated best."""
    least: Share = 0.5
    """Probability from which on a detection is drawn; the run reports none below its
    own --least-score."""


def detect_in(experiment: Experiment[Config], words: list[str]) -> int:
    """Run the verb and return the exit status.

    Neither the pictures that it was trained on nor those of its evaluation are needed.

    Raises:
        InputError: no picture, two of one name, one that cannot be read, or one that
            would be drawn over.
    """
    asked = parse(Detect, words, prog=f"{experiment.command} detect")
    check_ranges(asked)
    places = places_for(asked.images, asked.out)
    pictures = [_picture(path) for path in asked.images]
    with Interrupt() as interrupt:
        try:
            found = _found(experiment, asked, pictures, interrupt)
        except Interrupted:
            warn("stopped before anything was drawn")
            return interrupt.exit_status
    make_directory(asked.out)
    for picture, place, (one, names) in zip(pictures, places, found, strict=True):
        drawn = draw_detections(read_pixels(picture), one, names, least=asked.least)
        save_png(place, drawn)
        said = [
            f"{names[kind]} {score:.2f}"
            for kind, score in zip(one.classes, one.scores, strict=True)
            if score >= asked.least
        ]
        print(f"{picture.path}: {', '.join(said) or 'nothing'}; {place}")
    return 0


def _found(
    experiment: Experiment[Config],
    asked: Detect,
    pictures: Sequence[Picture],
    interrupt: Interrupt,
) -> list[tuple[Detections, Sequence[str]]]:
    """Return what is found in each picture, and the names of the classes."""
    from experiments.transitive.detection.load import search_in
    from experiments.transitive.detection.program import DetectorProgram, find_all

    config = config_to_evaluate(experiment, asked.run_dir)
    names = read_run(asked.run_dir)["data"]["train"]["class_names"]
    none = Annotated(pictures=(), class_names=tuple(names))
    program = DetectorProgram(config, none, none)
    _, state = interrupt.run(
        lambda: read_state(asked.run_dir, program, asked.checkpoint)
    )
    regions = search_in(config, pictures, interrupt)
    sides = config.data.short_side, config.data.long_side
    shown = Pictures(pictures, regions, *sides)
    found = find_all(program, state.params, shown, interrupt)
    return [(one, names) for one in found]


def _picture(path: Path) -> Picture:
    height, width = size_on_disk(path)
    return Picture(path=path, height=height, width=width, **pack_objects([], [], []))
