"""The paper's tables at a quarter of the width, on small real sets, and their record.

    python -m benchmarks.transitive.transfer --videos DIR --dataset voc:DIR --frames DIR

What is stopped goes on, in its directory or from the record, which has what there is at
the end of every start. Two processes may share the seeds, each in a directory of its
own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.transitive.runs import begin
from experiments.transitive.detection.config import Dataset
from experiments.transitive.presets import PRESETS
from experiments.transitive.transfer.plan import Plan
from experiments.transitive.transfer.runs import (
    RESULTS,
    key,
    run_transfer,
    shared_by,
    write_tables,
)
from experiments.transitive.transfer.shared import Shared
from lars_jax.errors import InputError
from lars_jax.runs.files import warn
from lars_jax.runs.paths import absolute_paths
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_lines

COMMAND = "python -m benchmarks.transitive.transfer"
NAME = "transitive_transfer"


def main(
    videos: Path,
    dataset: Dataset,
    frames: Path,
    run_dir: Path,
    seed: int = 0,
    seeds: int = 3,
    hours: float | None = None,
) -> None:
    """Run what is missing and write `records/transitive_transfer.json`.

    Args:
        videos: folder of clips that networks learn from.
        dataset: annotated pictures of Tables 1 to 3.
        frames: NYUv2 of Table 5.
        run_dir: where runs are.
        seed: the first.
        seeds: how many.
        hours: after which no run begins; None: all run.
    """
    said = PRESETS["transfer"].config
    config = replace_fields(said, videos=f"folder:{videos.absolute()}", seed=seed)
    plan = Plan(seeds=seeds, dataset=dataset, frames=str(frames))
    plan = absolute_paths(plan)
    # Paths say where data lay, not what was found.
    own = replace_fields(plan, dataset=Plan.dataset, frames=Plan.frames)
    shared = replace(shared_by(config, plan), config=said, plan=own)
    begin(run_dir, known_rows(shared))
    with Interrupt() as interrupt:
        try:
            run_transfer(
                config, plan, run_dir, hours=hours, interrupt=interrupt, say=warn
            )
        except Interrupted:
            warn("stopped; what was found is recorded")
    rows = joined(known_rows(shared), list(read_lines(run_dir / RESULTS)))
    print(write_record(NAME, COMMAND, **shared.to_json(), runs=rows))
    print(write_tables(plan, rows, run_dir), end="")


def known_rows(shared: Shared) -> list[dict[str, Any]]:
    """Return the rows of the record, none if it is of other data, steps or presets."""
    if not record_path(NAME).exists():
        return []
    record = read_record(NAME)
    try:
        return [] if shared.changes(record) else record["runs"]
    except InputError:
        # Of fields or values that there are no more.
        return []


def joined(
    known: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what a record has and what was run since, once each and in one order.

    >>> cell = {"task": "fast", "frozen": 0, "method": "Ours"}
    >>> rows = joined([{**cell, "seed": 1}], [{**cell, "seed": 0}, {**cell, "seed": 1}])
    >>> [row["seed"] for row in rows]
    [0, 1]
    """
    found = {key(row): row for row in [*known, *rows]}
    return [found[one] for one in sorted(found)]


if __name__ == "__main__":
    tyro.cli(main)
