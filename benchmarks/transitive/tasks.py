"""Detectors and networks of normals that learn their task alone, over seeds.

    python -m benchmarks.transitive.tasks --raccoon DIR --indoor DIR --frames DIR

What is stopped goes on, in its directory or from the record. Every row has all
evaluations of a run, so that a table shows a score over training.
"""

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from benchmarks.common.records import is_of, read_record, record_path, write_record
from benchmarks.transitive.runs import joined
from experiments.transitive.detection.experiment import DETECTION
from experiments.transitive.detection.splits import split_by_blocks
from experiments.transitive.normals.experiment import NORMALS
from lars_jax.files import make_directory
from lars_jax.runs import Experiment
from lars_jax.runs.paths import absolute_paths
from lars_jax.runs.train import train
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import (
    append_row,
    read_json,
    read_lines,
    read_rows,
    write_text,
)

COMMAND = "python -m benchmarks.transitive.tasks"
NAME = "transitive_tasks"
RESULTS = "results.jsonl"

BLOCKS = 5
"""Parts that the frames of one flat fall into; a seed holds out the one of its number,
as frames that are near show the same."""


class Cell(NamedTuple):
    """What is trained.

    Attributes:
        experiment: of the task.
        preset: its name there.
        data: which data, of those that the command names.
        changes: of the preset.
    """

    experiment: Experiment[Any]
    preset: str
    data: str
    changes: Mapping[str, Any]


UNTRAINED = {"frozen": "conv5_3"}
"""Convolutions stay as they were drawn; the head alone learns."""

CELLS = {
    "raccoons, Fast R-CNN": Cell(DETECTION, "small_fast", "raccoon", {}),
    "raccoons, Fast R-CNN on untrained features": Cell(
        DETECTION, "small_fast", "raccoon", UNTRAINED
    ),
    "raccoons, Faster R-CNN": Cell(DETECTION, "small_faster", "raccoon", {}),
    "a flat, Fast R-CNN": Cell(
        DETECTION, "small_fast", "indoor", {"drop_copies": False}
    ),
    "a flat, Fast R-CNN on untrained features": Cell(
        DETECTION, "small_fast", "indoor", {"drop_copies": False, **UNTRAINED}
    ),
    "normals": Cell(NORMALS, "small", "frames", {}),
}
"""Every cell by name, the most telling first."""


def main(
    raccoon: Path,
    indoor: Path,
    frames: Path,
    run_dir: Path,
    seeds: int = 3,
    hours: float | None = None,
    only: tuple[str, ...] = (),
) -> None:
    """Run what is missing and write `records/transitive_tasks.json` after each run.

    Args:
        raccoon: photographs of raccoons in the layout of PASCAL VOC.
        indoor: frames of one flat in that layout.
        frames: NYUv2 as archives of depth.
        run_dir: where runs are.
        seeds: how many, from 0.
        hours: after which no run begins; None: all run.
        only: cells to run; empty: all.
    """
    data = {"raccoon": raccoon, "indoor": indoor, "frames": frames}
    names = only or tuple(CELLS)
    make_directory(run_dir)
    results = run_dir / RESULTS
    here = list(read_lines(results)) if results.exists() else []
    here = [row for row in here if is_todays(row, data, run_dir)]
    rows = joined(recorded(), here, tuple(CELLS))
    until = time.monotonic() + 3600 * (hours if hours is not None else 1e6)
    for seed in range(seeds):
        for name in names:
            if any((row["cell"], row["seed"]) == (name, seed) for row in rows):
                continue
            if time.monotonic() > until:
                return
            row = {"cell": name, "seed": seed, **run(name, seed, data, run_dir)}
            append_row(results, row)
            rows = joined(rows, [row], tuple(CELLS))
            write_record(NAME, COMMAND, configs=presets(), runs=rows)


def presets() -> dict[str, Any]:
    """Return the configurations of the cells, wherever their data lie."""
    return {name: to_json(preset(name)) for name in CELLS}


def preset(name: str) -> Any:
    """Return the configuration of a cell."""
    cell = CELLS[name]
    return replace_fields(cell.experiment.presets[cell.preset].config, **cell.changes)


def recorded() -> list[dict[str, Any]]:
    """Return the rows of the record that are of these configurations."""
    record = read_record(NAME) if record_path(NAME).exists() else {"configs": {}}
    known = record["configs"]
    same = {
        name
        for name in CELLS
        if name in known and is_of({"config": known[name]}, preset(name))
    }
    return [row for row in record.get("runs", []) if row["cell"] in same]


def is_todays(
    row: Mapping[str, Any], data: Mapping[str, Path], directory: Path
) -> bool:
    """Return whether a row is of a run that would be today's, as it says itself."""
    name, seed = row["cell"], row["seed"]
    path = place(name, seed, directory) / "config.json"
    if name not in CELLS or not path.exists():
        return False
    return is_of(
        read_json(path), absolute_paths(config_of(name, seed, data, directory))
    )


def run(
    name: str, seed: int, data: Mapping[str, Path], directory: Path
) -> dict[str, Any]:
    """Return evaluations and guesses of a run of a cell."""
    cell, own = CELLS[name], place(name, seed, directory)
    config = config_of(name, seed, data, directory)
    if cell.data == "indoor":
        by_blocks(data[cell.data], seed % BLOCKS, blocks(seed, directory))
    outcome = train(cell.experiment, config, own, name=cell.preset, resume="if_any")
    if outcome.status:
        raise SystemExit(outcome.status)
    shutil.rmtree(own / "checkpoints", ignore_errors=True)
    rows = list(read_rows(own / "metrics.jsonl"))
    return {
        "evaluations": [
            {name: value for name, value in row.items() if "/ap50/" not in name}
            for row in rows
            if "eval/count" in row
        ],
        "baseline": {k: v for k, v in rows[0].items() if k.startswith("baseline/")},
    }


def place(name: str, seed: int, directory: Path) -> Path:
    """Return the directory of a run of a cell."""
    return directory / "-".join([*re.findall("[a-z0-9]+", name.lower()), str(seed)])


def blocks(seed: int, directory: Path) -> Path:
    """Return the folder of the flat's frames as a seed splits them."""
    return directory / f"indoor-{seed % BLOCKS}"


def config_of(name: str, seed: int, data: Mapping[str, Path], directory: Path) -> Any:
    """Return the configuration of a run of a cell."""
    config, kind = replace_fields(preset(name), seed=seed), CELLS[name].data
    if kind == "frames":
        return replace_fields(config, frames=str(data[kind]))
    path = blocks(seed, directory) if kind == "indoor" else data[kind]
    return replace_fields(config, dataset=f"voc:{path}")


def by_blocks(source: Path, part: int, directory: Path) -> Path:
    """Return a folder of the same pictures, one block of neighbours to test on.

    Args:
        source: in the layout of PASCAL VOC, its names in the order of the video.
        part: which of `BLOCKS` is held out.
        directory: gets links to the pictures, and lists of its own.
    """
    names = sorted(path.stem for path in (source / "Annotations").glob("*.xml"))
    splits = split_by_blocks(names, parts=BLOCKS, part=part)
    lists = directory / "ImageSets" / "Main"
    make_directory(lists)
    for split, own in zip(("train", "test"), splits, strict=True):
        write_text(lists / f"{split}.txt", "".join(f"{name}\n" for name in own))
    for name in ("Annotations", "JPEGImages"):
        if not (directory / name).exists():
            (directory / name).symlink_to((source / name).absolute())
    return directory


if __name__ == "__main__":
    tyro.cli(main)
