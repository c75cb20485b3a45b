"""Records as they are written and read, and pages that are made from them."""

import json
from pathlib import Path
from unittest import mock

import pytest

from benchmarks.common import commands, records
from benchmarks.common.markdown import WIDTH, origin
from benchmarks.lars import compare, presets
from benchmarks.tables.__main__ import PAGES, fill
from experiments.lars.presets import get_preset
from lars_jax.errors import InputError
from lars_jax.train.config import to_json
from lars_jax.train.record import write_json


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


def test_runs_of_several_revisions_are_told_below_a_table():
    versions = {"python": "3.11", "jax": "1", "optax": "2", "flax": "3"}
    record = {"command": "made", "machine": "2 cores", "environment": versions}
    runs = [{"environment": versions | {"git_revision": one}} for one in "aab"]
    assert "revision" not in origin(record | {"runs": runs[:2]})
    assert "revision" not in origin(record | {"runs": [{}, {}]})
    text = " ".join(origin(record | {"runs": [*runs, {}]}).split())
    assert text.endswith("revisions a (jax 1), b (jax 1), unknown (jax unknown).")


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


def ended(directory, **record):
    """Write what a run of five steps has left, and return its result."""
    config = to_json(get_preset("digits").config) | {"steps": 5}
    record = {"preset": "digits", "config": config, "environment": {}} | record
    write_json(directory / "config.json", record)
    write_json(directory / "result.json", {"accuracy": 0.1})
    return {"accuracy": 0.1}


def test_a_trial_is_no_result_of_its_preset(tmp_path):
    trial = ended(tmp_path)
    assert presets.run("digits", 0, tmp_path, steps=5) == trial
    with pytest.raises(InputError, match="steps: 5 -> None.*name another --run-dir"):
        presets.run("digits", 0, tmp_path, steps=None)
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        presets.run("digits", 1, tmp_path, steps=5)


def test_a_result_of_other_data_is_none(tmp_path):
    other = {"examples": 9, "class_names": [], "digest": "other"}
    ended(tmp_path, data={"train": other})
    with pytest.raises(InputError, match="train: another digest"):
        presets.run("digits", 0, tmp_path, steps=5)


@pytest.mark.parametrize(("steps", "recorded"), [(5, False), (None, True)])
def test_a_trial_is_not_recorded(place, monkeypatch, steps, recorded):
    found = {"accuracy": 0.1, "count": 360.0, "wall_seconds": 1.0}
    monkeypatch.setattr(presets, "run", lambda *arguments: found)
    presets.main("digits", place / "runs", steps=steps)
    assert (place / "digits.json").exists() == recorded


def test_optimizers_that_a_grid_does_not_have_are_refused(place):
    with pytest.raises(InputError, match="of the grid, lars, nesterov, lamb; got byol"):
        compare.main(place / "run", optimizers=("lars", "byol"))
    assert not any(place.iterdir())


def test_commands_of_the_records_of_comparisons_can_be_called(monkeypatch):
    called = mock.Mock()
    monkeypatch.setattr(compare, "compare", called)
    monkeypatch.setattr(compare, "read_lines", mock.Mock(side_effect=StopIteration))
    for preset in ("digits", "fashion_mnist"):
        words = records.read_record(f"compare_{preset}")["command"].split()
        monkeypatch.setattr("sys.argv", words[2:])
        with pytest.raises(StopIteration):
            commands.command(compare.main)
        assert called.call_args.args[2] == Path("runs") / f"compare-{preset}"


@pytest.mark.slow
def test_a_run_that_has_ended_is_not_trained_again(tmp_path):
    found = presets.run("digits", 0, tmp_path, steps=12)
    assert (found["steps"], found["resumed"]) == (12, False)
    assert presets.run("digits", 0, tmp_path, steps=12) == found
    (tmp_path / "result.json").unlink()
    again = presets.run("digits", 0, tmp_path, steps=12)
    assert again["resumed"]
    assert again["accuracy"] == found["accuracy"]
