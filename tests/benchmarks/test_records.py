"""Records as they are written and read, and pages that are made from them."""

import json

import pytest

from benchmarks.common import records
from benchmarks.common.markdown import WIDTH, origin
from benchmarks.lars import presets
from benchmarks.tables.__main__ import PAGES, fill
from experiments.lars.presets import get_preset


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a directory of records of a test's own."""
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    return tmp_path


def test_a_record_reads_as_it_was_written_a_line_for_each_run(place):
    runs = [{"seed": seed, "losses": [0.5, 0.25]} for seed in range(3)]
    games = {"one": {"modes": 8}, "two": {"modes": 7}}
    path = records.write_record("made", "python -m made", runs=runs, games=games)
    found = records.read_record("made")
    assert (found["runs"], found["games"]) == (runs, games)
    assert found["command"] == "python -m made"
    assert found["environment"]["jax"]
    lines = path.read_text().splitlines()
    assert [json.loads(line.rstrip(",")) for line in lines if "seed" in line] == runs
    assert sum("modes" in line for line in lines) == 2


def test_device_name_fits_into_a_file_name():
    assert records.device_name() == "cpu"


def test_a_command_below_a_table_is_not_cut_by_the_end_of_a_line():
    record = {
        "command": "python -m benchmarks.mesh.errors --run-dir runs/some --rounds 3",
        "machine": "a machine with a long name",
        "environment": {"python": "3.11", "jax": "1", "optax": "2", "flax": "3"},
    }
    text = origin(record, "Medians of n = 9 alternating rounds. ")
    assert f"`{record['command']}`" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_page_without_the_marks_of_its_table_is_refused():
    with pytest.raises(SystemExit, match="<!-- table digits -->"):
        fill("no table", {"digits": lambda: "a table"})


def test_tables_are_what_the_records_say():
    for page, tables in PAGES.items():
        text = (records.RECORDS.parent / page).read_text(encoding="utf-8")
        assert fill(text, tables) == text, page


def test_presets_to_be_recorded_exist():
    for group, names in presets.GROUPS.items():
        for name in names:
            assert get_preset(name).config.data.dataset == group


def test_speed_of_a_run_leaves_out_compilation():
    speeds = [1.0, 300.0, 100.0, 200.0]
    rows = [{"step": i, "images_per_second": s} for i, s in enumerate(speeds)]
    assert presets.training_speed([*rows, {"step": 3, "eval/accuracy": 0.5}]) == 200.0


@pytest.mark.slow
def test_a_run_that_has_ended_is_not_trained_again(tmp_path):
    found = presets.run("digits", 0, tmp_path, steps=12)
    assert (found["steps"], found["resumed"]) == (12, False)
    assert presets.run("digits", 0, tmp_path, steps=12) == found
    (tmp_path / "result.json").unlink()
    again = presets.run("digits", 0, tmp_path, steps=12)
    assert again["resumed"]
    assert again["accuracy"] == found["accuracy"]
