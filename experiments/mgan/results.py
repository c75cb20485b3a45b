"""What a game shows: its report, and the pictures in it as files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.mgan.config import Config, DataConfig, in_plane
from experiments.mgan.gallery import GALLERY, Gallery
from experiments.mgan.mixture import make_mixture
from experiments.mgan.snapshots import POINTS, Snapshot, load_snapshots
from lars_jax.report import (
    Panel,
    Picture,
    confusion_figure,
    evolution_figure,
    image_sheet,
    save_png,
    write_report,
)
from lars_jax.runs import read_run
from lars_jax.runs.data import data_rows
from lars_jax.train.config import from_json
from lars_jax.train.record import read_rows, write_text
from lars_jax.train.weights import read_arrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 5
"""Steps of an evolution that are drawn, as in Figure 2c."""


def write_game_page(directory: Path) -> Path:
    """Write `report.html` from the files of a run, finished or not, and its pictures.

    Raises:
        InputError: the directory holds no run of a game, or one of its files is broken.
    """
    record = read_run(directory)
    config = from_json(Config, record["config"])
    rows = list(read_rows(directory / "metrics.jsonl"))
    steps = max((row["step"] for row in rows), default=0)
    snapshots = load_snapshots(directory, steps)
    summary = {
        "generators": str(config.rules.generators),
        "steps": f"{steps:,} of {config.steps:,}",
        **_averages(rows),
    }
    pictures = {}
    if in_plane(config):
        if snapshots:
            pictures["evolution.svg"] = _evolution(config, record["preset"], snapshots)
    else:
        if snapshots:
            pictures["samples.png"] = _sheet(snapshots[-1])
        if (path := directory / GALLERY).exists():
            gallery = Gallery(**read_arrays(path, Gallery._fields))
            near, usual = _distances(gallery)
            told_apart = np.trace(gallery.confusion) / len(gallery.confusion)
            summary["samples told apart"] = f"{100 * told_apart:.0f} %"
            summary["distance to the data"] = f"{near:.1f}"
            summary["distance within the data"] = f"{usual:.1f}"
            pictures |= _gallery_pictures(gallery)
    for name, picture in pictures.items():
        save_picture(directory / name, picture.image)
    path = directory / "report.html"
    write_report(
        path,
        title=f"{record['preset']}: {config.rules.game} on {config.data.dataset}",
        summary=summary,
        metrics=rows,
        pictures=list(pictures.values()),
        config=record["config"],
        environment=record["environment"] | data_rows(directory),
    )
    return path


def panels(snapshots: list[Snapshot]) -> list[Panel]:
    """Return some of the snapshots as panels of a figure, evenly spread, the last too.

    >>> points, one = np.zeros((1, 2)), np.zeros(1, int)
    >>> [p.step for p in panels([Snapshot(s, points, one) for s in range(1, 11)])]
    [2, 4, 6, 8, 10]
    """
    last = len(snapshots)
    chosen = {-(-last * i // PANELS) - 1 for i in range(1, PANELS + 1)} - {-1}
    return [Panel(*snapshots[i]) for i in sorted(chosen)]


def real_points(data: DataConfig) -> np.ndarray:
    """Return samples of a mixture, the same whenever they are drawn, [POINTS, 2]."""
    return make_mixture(data).draw_host(np.random.default_rng(0), POINTS)


def _evolution(config: Config, name: str, snapshots: list[Snapshot]) -> Picture:
    caption = (
        "Samples after so many steps, coloured by the generator that made them; "
        "behind them samples of the data."
    )
    figure = evolution_figure({name: panels(snapshots)}, real_points(config.data))
    return Picture("Evolution", caption, figure)


def _sheet(snapshot: Snapshot) -> Picture:
    return Picture(
        "Samples of each generator",
        f"Averaged generators after step {snapshot.step:,}, a row each; the noise of "
        "every image is its own.",
        image_sheet(snapshot.values, row_labels=_names(len(snapshot.values))),
    )


def _gallery_pictures(gallery: Gallery) -> dict[str, Picture]:
    names = _names(len(gallery.interpolation))
    numbers = [name.removeprefix("G") for name in names]
    beside = ["sample", *(f"{n}" for n in range(1, gallery.neighbours.shape[1]))]
    near, usual = _distances(gallery)
    return {
        "interpolation.png": Picture(
            "From one noise to another",
            "The same two noises for every generator. Images that change step by step, "
            "not at once, are a sign that none was learned by heart.",
            image_sheet(gallery.interpolation, row_labels=names),
        ),
        "neighbours.png": Picture(
            "Nearest training images",
            "A sample of each generator, then the training images nearest to it by "
            f"squared difference of pixels. Median distance of samples to the "
            f"nearest training image: {near:.1f} of 255; of training images to the "
            f"nearest other one: {usual:.1f}.",
            image_sheet(gallery.neighbours, row_labels=names, column_labels=beside),
        ),
        "confusion.svg": Picture(
            "Which generator the classifier sees",
            "Row: the generator that made a sample. Column: the one that the "
            "classifier takes it for. A blind classifier has "
            f"{100 / len(names):.0f} % everywhere.",
            confusion_figure(
                gallery.confusion,
                title="",
                row_label="made by",
                column_label="taken for",
                row_names=numbers,
                column_names=numbers,
            ),
        ),
    }


def _distances(gallery: Gallery) -> tuple[float, float]:
    return np.median(gallery.sample_distance), np.median(gallery.real_distance)


def _names(count: int) -> list[str]:
    return [f"G{k + 1}" for k in range(count)]


def save_picture(path: Path, image: "np.ndarray | Figure") -> None:
    """Write an image as PNG, or a figure as SVG, whole; the same has the same bytes."""
    if isinstance(image, np.ndarray):
        save_png(path, image)
        return
    from matplotlib import rc_context

    text = io.StringIO()
    # Without them its identifiers are drawn by lot, and the hour is written down.
    with rc_context({"svg.hashsalt": path.name}):
        image.savefig(text, format="svg", metadata={"Date": None})
    write_text(path, text.getvalue())


def _averages(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the numbers of the averaged generators at the last evaluation."""
    evaluated: dict[str, Any] = next(
        (row for row in reversed(rows) if "eval/count" in row), {}
    )
    found = {}
    for name, value in evaluated.items():
        kind = name.removeprefix("eval/average/")
        if kind not in (name, "generators"):
            text = f"{value:.0f}" if kind == "modes" else f"{value:.3f}"
            found[f"{kind.replace('_', ' ')} (average)"] = text
    return found
