"""What a pipeline shows: how much of each came out, and what it looks like."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.config import Config
from experiments.transitive.pairs import KINDS
from experiments.transitive.stages import make_stages
from experiments.transitive.task_report import read_picture
from lars_jax.data import Source
from lars_jax.report import Curve, Picture, image_sheet, write_report
from lars_jax.runs import is_coherent, read_run
from lars_jax.runs.stages import LOG, TIME, has_settings
from lars_jax.train.config import from_json
from lars_jax.train.record import read_json, read_rows

SHOWN = 8
"""Pairs of each kind that are shown."""

EVALUATED = "training pairs without variation"
"""What the triplet network is evaluated by: every pair is trained on."""

CURVES = (
    Curve(
        "Triplet loss",
        {"train/loss": "training", "eval/loss": EVALUATED},
        is_loss=True,
        log_from=10.0,
    ),
)
"""What is drawn of the training of the triplet network."""


def write_pipeline_report(directory: Path) -> Path:
    """Write `report.html` from what the stages have left, as far as they have come.

    Raises:
        InputError: the directory holds no pipeline.
    """
    record = read_run(directory)
    # What came of other files or settings would be taken for a result of these.
    summary = _stale_stages(directory, record["config"])
    stages = [
        name for name in _AMOUNTS if name not in summary and (directory / name).exists()
    ]
    pictures: list[Picture] = []
    for stage in ("mine", "track"):
        if stage in stages:
            _add_videos(directory / stage, stage, summary)
    for stage, name, caption in _PICTURES:
        path = directory / stage / f"{name}.png"
        if stage in stages and path.exists():
            pictures.append(read_picture(path, name.capitalize(), caption))
    summary |= stage_rates(directory, stages)
    rows: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    if "graph" in stages:
        counts = read_json(directory / "graph" / "counts.json")
        summary |= {name: f"{count:,}" for name, count in counts.items()}
        pictures.append(_pairs_picture(directory))
    if "context" in stages:
        last = _last_evaluation(directory / "context")
        summary[
            "context: right on other photographs of the same scenes, by chance 12.5 %"
        ] = _percent(last["eval/accuracy"])
    if "triplet" in stages:
        log = directory / "triplet" / LOG / "run"
        rows = list(read_rows(log / "metrics.jsonl"))
        layers = [r for r in read_rows(log / "layers.jsonl") if "layers" in r]
        last = _last_evaluation(directory / "triplet")
        summary[f"triplet loss, {EVALUATED}"] = f"{last['eval/loss']:.4f}"
        summary[f"distance of a pair, {EVALUATED}"] = f"{last['eval/positive']:.3f}"
        summary[f"distance of a negative, {EVALUATED}"] = f"{last['eval/negative']:.3f}"
    if "evaluate" in stages:
        _add_evaluation(directory / "evaluate", summary)
    path = directory / "report.html"
    write_report(
        path,
        title=f"{record['preset']}: transitive invariance",
        summary=summary,
        metrics=rows,
        curves=CURVES,
        layers=layers,
        pictures=pictures,
        config=record["config"],
        environment=record["environment"],
    )
    return path


def _stale_stages(directory: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Return which stages have left what is of other files or settings, and why."""
    known = make_stages(from_json(Config, settings))
    stale = {}
    for name in _AMOUNTS:
        if not (directory / name).exists():
            continue
        if not is_coherent(directory, name):
            stale[name] = "of files that are no more: run it again"
        elif not has_settings(known, settings, directory, name):
            stale[name] = "made with other settings: run it again"
    return stale


_PICTURES = (
    ("mine", "mined", "Points that move beyond the camera are red; boxes green."),
    ("track", "tracks", "Seed and tracked end, side by side; a video in each row."),
    ("context", "patches", "Which of the eight neighbours is the right patch? By row."),
    ("features", "nearest", "A seed in each row, and those nearest of other videos."),
    ("graph", "clusters", "A child cluster in each row."),
    ("evaluate", "retrieval", "A crop, and those nearest to it by trained features."),
    ("evaluate", "activations", "What units of the last convolution answer most to."),
)
"""Stage, name and caption of what is shown."""


def pair_sheet(source: Source, image: np.ndarray, pairs: Any) -> np.ndarray:
    """Return some pairs of each kind, the two images of each side by side.

    Args:
        source: the images.
        image: int [nodes], the place of each node's image.
        pairs: of `experiments.transitive.pairs`.

    Returns:
        uint8 [height, width, 3].
    """
    rows, names = [], []
    for number, name in enumerate(KINDS):
        own = pairs.nodes[pairs.kind == number]
        if not len(own):
            continue
        chosen = own[np.linspace(0, len(own) - 1, SHOWN).astype(int)]
        rows.append(
            np.stack(
                [
                    np.hstack([source[int(image[node])][0] for node in pair])
                    for pair in chosen
                ]
            )
        )
        names.append(name)
    return image_sheet(np.stack(rows), row_labels=names)


def stage_rates(directory: Path, stages: Collection[str]) -> dict[str, str]:
    """Return how long each stage took in its last start, and how much it did a second.

    Args:
        directory: of a pipeline.
        stages: which are told of.
    """
    return {
        f"{stage}: time": f"{one['seconds']:.1f} s"
        + (
            f", {one['amount'] / one['seconds']:,.1f} {one['unit']}/s"
            if one["unit"]
            else ""
        )
        for stage, one in stage_times(directory).items()
        if stage in stages
    }


def stage_times(directory: Path) -> dict[str, dict[str, Any]]:
    """Return of each stage its `seconds`, and what `amount` of which `unit` it did.

    A stage that was stopped and went on has the seconds of its last start, in which it
    did less than it did in all: of it the amount is 0.

    Args:
        directory: of a pipeline, as far as it has come.
    """
    found = {}
    for stage, (unit, amount) in _AMOUNTS.items():
        path = directory / stage / LOG / TIME
        if path.exists():
            took = read_json(path)
            part = took.get("resumed", False)
            found[stage] = {
                "seconds": float(took["seconds"]),
                "amount": 0 if part else amount(directory / stage),
                "unit": "" if part else unit,
            }
    return found


def _last_evaluation(stage: Path) -> dict[str, Any]:
    rows = read_rows(stage / LOG / "run" / "metrics.jsonl")
    return [row for row in rows if "eval/loss" in row][-1]


def _frames_read(stage: Path) -> int:
    from experiments.transitive.records import read_records

    return sum(record["frames"] for record in read_records(stage))


def _tracks(stage: Path) -> int:
    return len(np.load(stage / "index.npy", mmap_mode="r")) // 2


def _images_trained_on(stage: Path) -> int:
    rows = list(read_rows(stage / LOG / "run" / "metrics.jsonl"))
    config = read_json(stage / LOG / "run" / "config.json")["config"]
    per_step = config["triplet"]["global_batch"]
    if stage.name == "context":
        per_step = 2 * config["context"]["context_batch"]
    return per_step * max(row["step"] for row in rows)


_AMOUNTS: dict[str, tuple[str, Callable[[Path], int]]] = {
    "videos": ("", lambda stage: 0),
    "mine": ("frames", _frames_read),
    "track": ("tracks", _tracks),
    "frames": ("images", lambda stage: len(list(stage.glob("train/frame/*")))),
    "context": ("patches", _images_trained_on),
    "features": ("crops", lambda stage: len(np.load(stage / "features.npy", "r"))),
    "graph": ("seeds", lambda stage: read_json(stage / "counts.json")["seeds"]),
    "triplet": ("images", _images_trained_on),
    "evaluate": ("", lambda stage: 0),
}
"""Unit and amount of what each stage does."""


def _add_videos(directory: Path, stage: str, summary: dict[str, str]) -> None:
    from experiments.transitive.records import counts, passed_over, read_records

    if not (directory / "videos.json").exists():
        return
    records = read_records(directory)
    done = [record for record in records if not record["reason"]]
    word = {"mine": "videos", "track": "videos with tracks"}[stage]
    summary[word] = f"{len(done):,} of {len(records):,}"
    for why, names in passed_over(records).items():
        summary[f"{word}: {why}"] = f"{len(names):,}"
    for name, count in counts(done).items():
        summary[f"{stage}: {name}"] = f"{count:,}"


def _add_evaluation(directory: Path, summary: dict[str, str]) -> None:
    if not (directory / "evaluation.json").exists():
        return
    found = read_json(directory / "evaluation.json")
    if (graph := found.get("graph")) is not None:
        for kind, one in graph["pairs"].items():
            if one["count"]:
                summary[f"{kind} pairs of one category"] = _percent(one["same"])
        summary["by chance"] = _percent(graph["chance"])
        summary["child clusters of one category"] = _percent(
            graph["child clusters"]["whole"]
        )
        summary["parents: share of their main category"] = _percent(graph["parents"])
        negatives = graph["false negatives"]
        summary["false negatives, of other parents"] = _percent(negatives["aware"])
        summary["false negatives, of any parent"] = _percent(negatives["blind"])
    for name, overlap in found.get("boxes", {}).items():
        summary[f"{name} boxes: intersection over union with the truth"] = (
            f"{overlap:.2f}"
        )
    for name, one in found.get("photographs", {}).items():
        summary[f"nearest neighbours by features: {name}"] = _percent(one["nearest"])
        if "linear" in one:
            summary[f"linear classifier on features: {name}"] = _percent(one["linear"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _pairs_picture(directory: Path) -> Picture:
    from experiments.transitive.batches import pair_data
    from experiments.transitive.pairs import Pairs

    data = pair_data(directory / "track", directory / "graph")
    sheet = pair_sheet(data.source, data.image, Pairs(data.nodes, data.kind))
    return Picture("Pairs", "What is to be close, by kind.", sheet)
