"""Runs of the pipeline that differ in a few fields, each with several seeds.

A seed has a directory of its own in which one cell runs after another: stages that the
fields of a cell do not concern are current and run once. A row is added for each cell,
so that what was stopped or killed goes on where it was.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.transitive.check import check
from experiments.transitive.config import Config
from experiments.transitive.evaluation import evaluation_digests
from experiments.transitive.sources import video_digests
from experiments.transitive.stages import make_stages
from lars_jax.errors import InputError
from lars_jax.files import local_path, make_directory
from lars_jax.runs import run_stages
from lars_jax.runs.stages import LOG
from lars_jax.train import Interrupt
from lars_jax.train.config import difference, digest, replace_fields, to_json
from lars_jax.train.record import (
    append_row,
    environment,
    lock,
    read_json,
    read_lines,
    read_rows,
    write_json,
    write_text,
)

RESULTS = "results.jsonl"
"""A row for each run."""

Cells = Mapping[str, Mapping[str, Any]]
"""Fields that a cell changes, by the name of the cell."""

VARIANTS: Cells = {
    "intra": {"transitive_share": 0.0},
    "inter": {"across": "inter", "transitive_share": 1.0},
    "transitive": {"transitive_share": 1.0},
    "transitive + intra": {},
    "multi-task": {"context_weight": 1.0},
}
"""What the paper compares: pairs of a track (Tracking), of child clusters, of one step
of transitivity, these with those of tracks (Ours), and ranking of all with context
prediction, where the paper's multi-task ranks tracks alone. Features that no pair has
shaped are evaluated with each."""


def run_cells(
    config: Config,
    cells: Cells,
    seeds: Sequence[int],
    directory: Path,
    *,
    interrupt: Interrupt,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Run what is missing of the cells, and return a row for each of all.

    Args:
        config: what all cells share.
        cells: what they do not.
        seeds: of each cell; a seed draws objects that are held out, weights and order.
        directory: gets `config.json`, `results.jsonl` and a pipeline for each seed.
        interrupt: ends the work on a signal.
        say: is told what stages run.

    Returns:
        Rows with `cell`, `seed`, `images` that were trained on, numbers of the
        `evaluation` and of the last `training` row, in the order of seeds and cells.

    Raises:
        InputError: a cell that cannot run, or a directory that holds other ones.
        Interrupted: a signal came.
    """
    directory = local_path(directory)
    configs = {
        name: check(replace_fields(config, **own)) for name, own in cells.items()
    }
    _begin(config, directory)
    rows = []
    with lock(directory), tqdm(total=len(cells) * len(seeds), unit="run") as progress:
        known = known_rows(directory / RESULTS)
        for seed in seeds:
            for name, one in configs.items():
                key = {"cell": name, "seed": seed, "fields": dict(cells[name])}
                row = next((row for row in known if key.items() <= row.items()), None)
                if row is None:
                    whole = replace_fields(one, seed=seed)
                    place = directory / f"seed-{seed}"
                    row = key | _run(whole, place, interrupt, say)
                    append_row(directory / RESULTS, row)
                rows.append(row)
                progress.update()
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return shares of photographs that were recognised, by features.

    Args:
        rows: of `run_cells`.

    Returns:
        By name of the features, which are those of each cell and those that no pair
        has shaped: `nearest` and `linear`, a list with a share of each seed.

    >>> probes = {"trained": {"nearest": 0.5, "linear": 0.75},
    ...     "HOG": {"nearest": 0.25, "linear": 0.5}}
    >>> rows = [{"cell": "intra", "seed": 0, "evaluation": {"photographs": probes}}]
    >>> summarise(rows)["intra"]
    {'nearest': [0.5], 'linear': [0.75]}
    """
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    for row in rows:
        for kind, probe in row["evaluation"].get("photographs", {}).items():
            # What training does not change is the same in every cell of a seed.
            name = re.sub("^trained", row["cell"], kind)
            found.setdefault(name, {}).setdefault(row["seed"], probe)
    return {
        name: {
            measure: [probe[measure] for probe in seeds.values() if measure in probe]
            for measure in ("nearest", "linear")
        }
        for name, seeds in found.items()
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of `summarise`."""
    lines = [
        "| features | n | nearest neighbours % (sd) | linear classifier % (sd) |",
        "|---|---|---|---|",
    ]
    for name, found in summarise(rows).items():
        values = [_mean(found[measure]) for measure in ("nearest", "linear")]
        lines.append(f"| {name} | {len(found['nearest'])} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _mean(shares: Sequence[float]) -> str:
    if not shares:
        return ""
    mean = f"{100 * np.mean(shares):.1f}"
    # One run has no deviation.
    return f"{mean} ({100 * np.std(shares, ddof=1):.1f})" if shares[1:] else mean


def _begin(config: Config, directory: Path) -> None:
    data = digest([video_digests(config), evaluation_digests(config)])
    path, asked = directory / "config.json", {"config": to_json(config), "data": data}
    if not path.exists():
        make_directory(directory)
        write_json(path, asked | {"environment": environment()})
        return
    found = read_json(path)
    found = found if isinstance(found, dict) else {}
    # An older one does not say what its data were.
    known = {"config": {}, "data": data} | {k: found[k] for k in asked if k in found}
    if changes := difference(known, asked):
        raise InputError(
            f"a comparison needs a directory of its own; {directory} holds another "
            f"({changes[0]}): name another --run-dir"
        )


def known_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of results, in which only whole ones are left."""
    if not path.exists():
        return []
    known = list(read_lines(path))
    # Without what a crash cut short.
    write_text(path, "".join(json.dumps(row) + "\n" for row in known))
    return known


def _run(
    config: Config, place: Path, interrupt: Interrupt, say: Callable[[str], None]
) -> dict[str, Any]:
    run_stages(make_stages(config), config, place, interrupt=interrupt, say=say)
    run = place / "triplet" / LOG / "run"
    log = run / "metrics.jsonl"
    last = [row for row in read_rows(log) if "eval/loss" in row][-1]
    return {
        "images": config.triplet.steps * config.triplet.global_batch,
        "training": {k: v for k, v in last.items() if k.startswith("eval/")},
        "images_per_second": _rate(log),
        "last_layer": _last_layer(run / "layers.jsonl"),
        "counts": read_json(place / "graph" / "counts.json"),
        "evaluation": read_json(place / "evaluate" / "evaluation.json"),
    }


def _last_layer(log: Path) -> list[dict[str, float]]:
    """Return norms, trust ratio and rate of the last layer's weights, by step."""
    rows = [row for row in read_rows(log) if "layers" in row]
    return [
        {"step": row["step"], **{name: float(v) for name, v in one.items()}}
        for row in rows
        for layer, one in row["layers"].items()
        if layer.endswith("head/fc7/kernel")
    ]


def _rate(log: Path) -> float:
    rates = [r["images_per_second"] for r in read_rows(log) if "images_per_second" in r]
    return float(np.median(rates))
