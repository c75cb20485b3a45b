"""The runs behind the tables of tasks, on pictures that are made here."""

import json

import pytest

from benchmarks.common import records
from benchmarks.transitive import tasks
from experiments.transitive.detection.voc import split_names
from lars_jax.train.record import read_lines
from tests.experiments.transitive.detection.folders import write_blocks, write_voc

SMALL = {
    **{"network": "small", "width": 0.125, "units": 64, "cells": 3, "short_side": 64},
    **{"long_side": 96, "regions": 16, "proposals": 40, "test_proposals": 40},
    **{"steps": 2, "eval_every": 1, "warmup_steps": 0, "devices": 1},
}


def test_a_seed_holds_out_a_block_of_neighbours(tmp_path):
    source = write_voc(tmp_path / "flat", {f"frame{k:02}": [] for k in range(25)})
    found = tasks.by_blocks(source, 1, tmp_path / "blocks")
    held = [f"frame{k:02}" for k in range(5, 10)]
    assert split_names(found, "test") == held
    # Two on each side show what the block shows.
    learned = split_names(found, "train")
    assert learned == [f"frame{k:02}" for k in (0, 1, 2, *range(12, 25))]
    # A run that goes on finds it there.
    assert tasks.by_blocks(source, 1, tmp_path / "blocks") == found


@pytest.mark.slow
def test_what_is_stopped_goes_on_and_is_recorded_once(tmp_path, monkeypatch):
    raccoon = write_blocks(tmp_path / "raccoon")
    cell = tasks.Cell(tasks.DETECTION, "small_fast", "raccoon", SMALL)
    cells = {"one": cell, "two": cell._replace(changes=SMALL | {"drop_copies": False})}
    monkeypatch.setattr(tasks, "CELLS", cells)
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setenv("LARS_JAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "records").mkdir()
    data = dict.fromkeys(("raccoon", "indoor", "frames"), raccoon)
    where = tmp_path / "runs"
    tasks.main(**data, run_dir=where, seeds=1, only=("one",))
    tasks.main(**data, run_dir=where, seeds=1)
    rows = list(read_lines(where / tasks.RESULTS))
    assert [(row["cell"], row["seed"]) for row in rows] == [("one", 0), ("two", 0)]
    assert [found["step"] for found in rows[0]["evaluations"]] == [1, 2]
    assert 0 <= rows[0]["baseline"]["baseline/same_box/ap50"] <= 1
    record = json.loads((tmp_path / "records" / f"{tasks.NAME}.json").read_text())
    assert record["runs"] == rows
    # Another directory begins with what the record has.
    tasks.main(**data, run_dir=tmp_path / "other", seeds=1)
    assert not (tmp_path / "other" / tasks.RESULTS).exists()
