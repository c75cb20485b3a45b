"""The report of a network that was trained for a task: how it went and what it does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lars_jax.files import naming
from lars_jax.report import Curve, Picture, write_report
from lars_jax.runs import read_run
from lars_jax.runs.data import data_rows
from lars_jax.train.record import read_rows

Row = Mapping[str, Any]

LEARNING = (
    Curve(
        "Loss",
        {
            "train/loss": "whole",
            "train/class_loss": "classes",
            "train/box_loss": "boxes",
            "train/proposal_loss": "proposals",
            "train/proposal_box_loss": "boxes of proposals",
        },
        is_loss=True,
        log_from=10.0,
    ),
    Curve(
        "Right in training",
        {"train/region_accuracy": "regions", "train/accuracy": "pixels"},
        "share",
    ),
)
"""What training leaves of either task."""


def write_task_report(
    directory: Path,
    *,
    about: str,
    curves: Sequence[Curve],
    tell: Callable[[Row, Row], Mapping[str, str]],
    picture: tuple[str, str, str],
) -> Path:
    """Write `report.html` from the files of a run, finished or not.

    Args:
        directory: of the run.
        about: what was trained, for the title.
        curves: of the evaluations.
        tell: the headline numbers of the last evaluation, given it and what was known
            before the first step; either may be empty.
        picture: file that a finished run has, its heading and what is to be seen.

    Raises:
        InputError: the directory holds no run, or one of its files is broken.
    """
    record = read_run(directory)
    rows = list(read_rows(directory / "metrics.jsonl"))
    steps = [row for row in rows if "train/loss" in row]
    last = next((row for row in reversed(rows) if "eval/count" in row), {})
    known = next((row for row in rows if _is_baseline(row)), {})
    summary = dict(tell(last, known))
    if steps:
        # The first interval holds the compilation.
        timed = [row["train/images_per_second"] for row in steps[1:] or steps]
        summary["steps"] = f"{steps[-1]['step']:,} of {record['config']['steps']:,}"
        summary["images per second"] = f"{np.median(timed):,.1f}"
    name, *words = picture
    path = directory / "report.html"
    write_report(
        path,
        title=f"{record['preset']}: {about}",
        summary=summary,
        metrics=rows,
        curves=(*LEARNING, *curves),
        pictures=[read_picture(directory / name, *words)]
        if (directory / name).exists()
        else [],
        config=record["config"],
        environment=record["environment"] | data_rows(directory),
    )
    return path


def read_picture(path: Path, title: str, caption: str) -> Picture:
    """Return an image file as a picture of a report.

    Raises:
        InputError: it cannot be read.
    """
    with naming(path, "read"), Image.open(path) as image:
        return Picture(title, caption, np.asarray(image.convert("RGB")))


def _is_baseline(row: Row) -> bool:
    return any(name.startswith("baseline/") for name in row)
