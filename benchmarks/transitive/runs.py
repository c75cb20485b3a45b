"""Runs of a comparison in a record that several processes add to.

Two cores do more as two processes of one core, each with seeds and a directory of its
own. So each begins with what the record has, and adds to it what it found.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.records import is_of, read_record, record_path
from experiments.transitive.compare import RESULTS
from experiments.transitive.config import Config
from lars_jax.files import make_directory
from lars_jax.train.record import append_row

Rows = list[dict[str, Any]]


def recorded(name: str, config: Config, runs: str = "runs") -> Rows:
    """Return the runs of a record, none if it is of another configuration."""
    if not record_path(name).exists():
        return []
    found = read_record(name)
    return found[runs] if is_of(found, config) else []


def begin(directory: Path, rows: Rows) -> None:
    """Give a directory that has no results yet those of a record."""
    results = directory / RESULTS
    if not results.exists():
        make_directory(directory)
        for row in rows:
            append_row(results, row)


def joined(known: Rows, rows: Rows, cells: Sequence[str]) -> Rows:
    """Return what a record has and what was run since, by seed and order of cells.

    >>> known = [{"cell": "inter", "seed": 1, "images": 5}]
    >>> rows = [{"cell": "inter", "seed": 1, "images": 5}, {"cell": "intra", "seed": 0}]
    >>> [row["cell"] for row in joined(known, rows, ["intra", "inter"])]
    ['intra', 'inter']
    """
    found = {(row["cell"], row["seed"]): row for row in [*known, *rows]}
    order = {cell: place for place, cell in enumerate(cells)}
    return sorted(
        found.values(),
        key=lambda row: (row["seed"], order.get(row["cell"], len(order))),
    )
