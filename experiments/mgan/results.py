"""What a game shows: its report, and the pictures in it as files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.mgan.config import DataConfig
from experiments.mgan.gallery import Gallery
from experiments.mgan.mixture import make_mixture
from experiments.mgan.snapshots import (
    Snapshot,
    load_snapshots,
    read_arrays,
    write_arrays,
)
from lars_jax.errors import InputError
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
from lars_jax.train.config import from_json
from lars_jax.train.record import read_lines, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 5
"""Steps of an evolution that are drawn, as in Figure 2c."""

REAL_POINTS = 512


def save_gallery(directory: Path, gallery: Gallery) -> None:
    """Write what the report of a game of images shows of its end."""
    write_arrays(directory / "gallery.npz", gallery._asdict())


def write_game_page(directory: Path) -> Path:
    """Write `report.html` from the files of a run, finished or not, and its pictures.

    Raises:
        InputError: the directory holds no run of a game, or one of its files is broken.
    """
    record = read_run(directory)
    config = record["config"]
    if not {"data", "rules", "steps"} <= config.keys():
        raise InputError(
            f"{directory / 'config.json'} must hold the configuration of a game; it "
            "does not: name a directory that this program's `train` has written"
        )
    rows = list(read_lines(directory / "metrics.jsonl"))
    snapshots = load_snapshots(directory, max((row["step"] for row in rows), default=0))
    gallery = _load_gallery(directory)
    if config["data"]["dataset"] in ("ring", "grid"):
        pictures = _plane_pictures(config, record["preset"], snapshots)
    else:
        pictures = _image_pictures(snapshots, gallery)
    for name, picture in pictures.items():
        save_picture(directory / name, picture.image)
    path = directory / "report.html"
    write_report(
        path,
        title=f"{record['preset']}: {config['rules']['game']} on "
        f"{config['data']['dataset']}",
        summary=_summary(rows, config) | _summary_of_images(gallery),
        metrics=rows,
        pictures=list(pictures.values()),
        config=config,
        environment=record["environment"],
    )
    return path


def panels(snapshots: list[Snapshot], count: int = PANELS) -> list[Panel]:
    """Return some of the snapshots as panels of a figure, evenly spread, the last too.

    >>> points, one = np.zeros((1, 2)), np.zeros(1, int)
    >>> [p.step for p in panels([Snapshot(s, points, one) for s in range(1, 11)])]
    [2, 4, 6, 8, 10]
    """
    last = len(snapshots)
    chosen = sorted({-(-last * i // count) - 1 for i in range(1, count + 1)} - {-1})
    return [Panel(*snapshots[i]) for i in chosen]


def real_points(data: DataConfig, count: int = REAL_POINTS) -> np.ndarray:
    """Return samples of a mixture, the same whenever they are drawn, [count, 2]."""
    return make_mixture(data).draw_host(np.random.default_rng(0), count)


def _plane_pictures(
    config: dict[str, Any], name: str, snapshots: list[Snapshot]
) -> dict[str, Picture]:
    if not snapshots:
        return {}
    real = real_points(from_json(DataConfig, config["data"]))
    figure = evolution_figure({name: panels(snapshots)}, real)
    caption = (
        "Samples after so many steps, coloured by the generator that made them; "
        "behind them samples of the data."
    )
    return {"evolution.svg": Picture("Evolution", caption, figure)}


def _image_pictures(
    snapshots: list[Snapshot], gallery: Gallery | None
) -> dict[str, Picture]:
    pictures = {}
    if snapshots:
        last = snapshots[-1]
        sheet = image_sheet(last.values, row_labels=_names(len(last.values)))
        pictures["samples.png"] = Picture(
            "Samples of each generator",
            f"Averaged generators after step {last.step:,}, a row each; the noise of "
            "every image is its own.",
            sheet,
        )
    return pictures | (_gallery_pictures(gallery) if gallery else {})


def _load_gallery(directory: Path) -> Gallery | None:
    path = directory / "gallery.npz"
    if not path.exists():
        return None
    return Gallery(**read_arrays(path, Gallery._fields))


def _gallery_pictures(gallery: Gallery) -> dict[str, Picture]:
    names = _names(len(gallery.interpolation))
    numbers = [name.removeprefix("G") for name in names]
    beside = ["sample", *(f"{n}" for n in range(1, gallery.neighbours.shape[1]))]
    near, usual = np.median(gallery.sample_distance), np.median(gallery.real_distance)
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


def _summary(rows: list[dict[str, Any]], config: dict[str, Any]) -> dict[str, str]:
    """Return the headline numbers of a run."""
    steps = max((row["step"] for row in rows), default=0)
    summary = {
        "generators": str(config["rules"]["generators"]),
        "steps": f"{steps:,} of {config['steps']:,}",
    }
    evaluated = [row for row in rows if "eval/count" in row]
    for row in evaluated[-1:]:
        for name, value in row.items():
            kind = name.removeprefix("eval/average/")
            if kind == name or kind in ("generators",):
                continue
            text = f"{value:.0f}" if kind == "modes" else f"{value:.3f}"
            summary[f"{kind.replace('_', ' ')} (average)"] = text
    return summary


def _summary_of_images(gallery: Gallery | None) -> dict[str, str]:
    """Return what is known of images without any network to judge them by."""
    if gallery is None:
        return {}
    told_apart = np.trace(gallery.confusion) / len(gallery.confusion)
    near, usual = np.median(gallery.sample_distance), np.median(gallery.real_distance)
    return {
        "samples told apart": f"{100 * told_apart:.0f} %",
        "distance to the data": f"{near:.1f}",
        "distance within the data": f"{usual:.1f}",
    }
