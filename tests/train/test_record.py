"""Files that are whole or absent, and files that grow a line at a time."""

import json

import pytest

from lars_jax import InputError
from lars_jax.train.record import (
    append_row,
    cut_rows,
    environment,
    read_json,
    read_lines,
    write_json,
    write_text,
)


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert read_json(path) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["file.json"]


def test_rows_after_the_checkpoint_are_cut_when_a_run_goes_on(tmp_path):
    path = tmp_path / "rows.jsonl"
    for step in (1, 2, 3):
        append_row(path, {"step": step})
    path.write_text(path.read_text() + '{"st')
    assert [row["step"] for row in read_lines(path)] == [1, 2, 3]
    cut_rows(path, 2)
    append_row(path, {"step": 3, "again": True})
    assert [row["step"] for row in read_lines(path)] == [1, 2, 3]
    assert path.read_text().count("again") == 1


def test_absent_file_has_no_rows(tmp_path):
    assert list(read_lines(tmp_path / "rows.jsonl")) == []


def test_broken_line_before_the_last_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match="line 2 does not"):
        list(read_lines(path))


def test_environment_can_be_written_as_json():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["jax"].count(".") >= 2
