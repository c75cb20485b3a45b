"""What a pipeline shows: how much of each came out, and what it looks like."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.transitive.config import Config
from experiments.transitive.pairs import KINDS
from lars_jax.data import Source
from lars_jax.files import naming
from lars_jax.report import Picture, image_sheet, write_report
from lars_jax.runs import read_run
from lars_jax.runs.stages import LOG
from lars_jax.train.config import from_json
from lars_jax.train.record import read_json, read_rows

SHOWN = 8
"""Pairs of each kind that are shown."""


def write_pipeline_report(directory: Path) -> Path:
    """Write `report.html` from what the stages have left, as far as they have come.

    Raises:
        InputError: the directory holds no pipeline.
    """
    record = read_run(directory)
    config = from_json(Config, record["config"])
    summary: dict[str, str] = {}
    pictures: list[Picture] = []
    for stage in ("mine", "track"):
        _add_videos(directory / stage, stage, summary)
    for stage, name, caption in (
        ("mine", "mined", "Points that move beyond the camera are red; boxes green."),
        ("track", "tracks", "Seed and tracked end, side by side; a video in each row."),
    ):
        path = directory / stage / f"{name}.png"
        if path.exists():
            with naming(path, "read"), Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            pictures.append(Picture(name.capitalize(), caption, pixels))
    graph, rows, layers = directory / "graph", [], []
    if (graph / "counts.json").exists():
        counts = read_json(graph / "counts.json")
        summary |= {name: f"{count:,}" for name, count in counts.items()}
        summary |= _purities(directory, config)
        pictures.append(_pairs_picture(directory))
    log = directory / "triplet" / LOG / "run"
    if log.exists():
        rows = list(read_rows(log / "metrics.jsonl"))
        layers = [r for r in read_rows(log / "layers.jsonl") if "layers" in r]
        last = [row for row in rows if "eval/loss" in row][-1]
        summary["triplet loss"] = f"{last['eval/loss']:.4f}"
        summary["distance of a pair"] = f"{last['eval/positive']:.3f}"
        summary["distance of a negative"] = f"{last['eval/negative']:.3f}"
    path = directory / "report.html"
    write_report(
        path,
        title=f"{record['preset']}: transitive invariance",
        summary=summary,
        metrics=rows,
        layers=layers,
        pictures=pictures,
        config=record["config"],
        environment=record["environment"],
    )
    return path


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


def _purities(directory: Path, config: Config) -> dict[str, str]:
    """Return how far pairs are right, where the demo knows what its clips show."""
    if config.video.videos != "demo":
        return {}
    from experiments.transitive.demo import read_truth
    from experiments.transitive.pairs import Pairs
    from experiments.transitive.purity import chance, pair_purity
    from experiments.transitive.stages import pair_data

    truth = read_truth(directory / "videos")
    data = pair_data(directory / "track", directory / "graph")
    video = np.asarray(vars(data.source)["index"]["video"])[data.image]
    category, thing = truth.category[video], truth.identity[video]
    found = pair_purity(Pairs(data.nodes, data.kind), category, thing)
    summary = {
        f"{name} pairs of one category": f"{100 * one.same:.1f} %"
        for name, one in found.items()
        if one.count
    }
    return summary | {"by chance": f"{100 * chance(category):.1f} %"}


def _pairs_picture(directory: Path) -> Picture:
    from experiments.transitive.pairs import Pairs
    from experiments.transitive.stages import pair_data

    data = pair_data(directory / "track", directory / "graph")
    sheet = pair_sheet(data.source, data.image, Pairs(data.nodes, data.kind))
    return Picture("Pairs", "What is to be close, by kind.", sheet)
