"""The files of a run: what is written where, and what a run that goes on takes back."""

import contextlib

import pytest

from lars_jax.runs.files import Files, RunFiles, warn
from lars_jax.train.record import read_lines


def format_row(row):
    return f"loss {row['loss']}"


def write(directory, steps, *, start=None, layers=True):
    """Write a row of each kind at each step."""
    with contextlib.ExitStack() as stack:
        files = RunFiles(
            directory,
            total=9,
            start=start,
            stack=stack,
            format_row=format_row,
        )
        for step in steps:
            files.row({"step": step, "loss": 0.5})
            files.show(step, {"step": step, "loss": 0.5})
            if layers:
                files.layers({"step": step, "layers": {}})
        files.say("done")


def steps(path):
    return [row["step"] for row in read_lines(path)]


def names(directory):
    return {path.name.split(".")[0] for path in directory.iterdir()}


def test_rows_layers_and_events_have_their_files(tmp_path, capsys):
    write(tmp_path, [1, 2])
    assert names(tmp_path) == {"metrics", "layers", "events"}
    assert steps(tmp_path / "metrics.jsonl") == [1, 2]
    assert steps(tmp_path / "layers.jsonl") == [1, 2]
    assert capsys.readouterr().err.endswith("done\n")


def test_run_that_goes_on_takes_back_what_came_later(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [], start=1)
    assert steps(tmp_path / "metrics.jsonl") == [1]
    assert steps(tmp_path / "layers.jsonl") == [1]
    write(tmp_path, [2, 3], start=1)
    assert steps(tmp_path / "metrics.jsonl") == [1, 2, 3]
    assert steps(tmp_path / "layers.jsonl") == [1, 2, 3]


@pytest.mark.parametrize("start", [None, 0, 1])
def test_run_without_layers_has_no_file_of_them(tmp_path, start):
    write(tmp_path, [2], start=start, layers=False)
    assert names(tmp_path) == {"metrics", "events"}


def test_row_is_described_as_it_was_asked_for(tmp_path, monkeypatch, capsys):
    # Without a terminal it speaks every ten seconds.
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr("lars_jax.train.progress.time.monotonic", lambda: next(clock))
    write(tmp_path, [3])
    assert "step 3/9 loss 0.5\n" in capsys.readouterr().err


def test_files_are_closed_with_what_else_is_open(tmp_path):
    order = []
    with contextlib.ExitStack() as stack:
        stack.callback(order.append, "first opened")
        files = RunFiles(
            tmp_path, total=9, start=None, stack=stack, format_row=format_row
        )
        files.row({"step": 1, "loss": 0.5})
    assert order == ["first opened"]
    assert steps(tmp_path / "metrics.jsonl") == [1]
    with pytest.raises(ValueError, match="closed file"):
        files.row({"step": 2})


def test_process_that_does_not_write_is_silent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = Files(tmp_path)
    files.row({"step": 1})
    files.layers({"step": 1})
    files.show(1, {})
    files.say("done")
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_warning_goes_to_standard_error(capsys):
    warn("careful")
    assert capsys.readouterr() == ("", "careful\n")
