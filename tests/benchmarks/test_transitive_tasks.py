"""The runs behind the tables of tasks, on pictures that are made here."""

import json

import pytest

from benchmarks.common import records
from benchmarks.tables.transfer import transfer_baselines
from benchmarks.transitive import tasks, transfer
from experiments.transitive.detection.experiment import DETECTION
from experiments.transitive.detection.voc import split_names
from experiments.transitive.presets import PRESETS
from experiments.transitive.transfer.plan import Plan
from experiments.transitive.transfer.shared import Shared
from lars_jax.errors import InputError
from lars_jax.train.config import replace_fields, to_json
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
    assert "seconds" not in rows[0]
    # Another directory begins with what the record has.
    tasks.main(**data, run_dir=tmp_path / "other", seeds=1)
    assert not (tmp_path / "other" / tasks.RESULTS).exists()
    # A cell that has changed is run again, and not told of by its old row.
    changed = {"one": cell._replace(changes=SMALL | {"steps": 3}), "two": cells["two"]}
    monkeypatch.setattr(tasks, "CELLS", changed)
    with pytest.raises(InputError, match="steps: 2 -> 3"):
        tasks.main(**data, run_dir=where, seeds=1)
    tasks.main(**data, run_dir=tmp_path / "third", seeds=1)
    record = json.loads((tmp_path / "records" / f"{tasks.NAME}.json").read_text())
    assert record["configs"]["one"]["steps"] == 3
    assert [row["evaluations"][-1]["step"] for row in record["runs"]] == [3, 2]


def test_guesses_are_means_of_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    box, angle = "baseline/same_box/ap50", "baseline/commonest/mean"
    runs = [
        {"seed": 0, "baseline": {box: 0.25}},
        {"seed": 0, "baseline": {angle: 60.0}},
        {"seed": 1, "baseline": {angle: 64.0}},
        {"seed": 1, "baseline": {angle: 64.0}},
    ]
    records.write_record(transfer.NAME, "some", runs=runs)
    lines = transfer_baselines().splitlines()[2:]
    assert [line.split(" | ", 1)[1] for line in lines] == [
        "25.0 (n 1) |",
        "62.0 (2.8, n 2) |",
    ]


def test_rows_of_other_steps_presets_or_data_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    preset, said = DETECTION.presets["small_fast"].config, PRESETS["transfer"].config
    shared = Shared(said, Plan(), {"fast": preset}, {"fast": "a"})
    assert transfer.known_rows(shared) == []
    rows = [{"task": "fast", "frozen": 0, "method": "Ours", "seed": 0}]
    # As records were before they said what presets and data were.
    older = {"config": to_json(said), "plan": to_json(Plan(seeds=1)), "runs": rows}

    def known(**change):
        records.write_record(transfer.NAME, "some", **{**older, **change})
        return transfer.known_rows(shared)

    other = to_json(replace_fields(preset, learning_rate=1.0))
    assert known() == rows
    assert known(data={"fast": "a", "normals": "c"}) == rows
    assert known(plan=to_json(Plan(detector_steps=7))) == []
    assert known(presets={"fast": other}) == []
    assert known(data={"fast": "b"}) == []
    assert known(config={**older["config"], "gone": 1}) == []
