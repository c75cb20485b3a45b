"""The files of a run: what is written where, and what a run that goes on takes back."""

import contextlib
import io
import itertools
import sys
from typing import Any

import pytest
from tensorboardX.proto import event_pb2

from lars_jax.runs import files
from lars_jax.runs.files import Files, RunFiles, warn
from lars_jax.train.record import read_lines

# Protobuf makes its classes on import, so type checkers know none of them.
EVENT: Any = vars(event_pb2)["Event"]


def format_row(row):
    return f"loss {row['loss']}"


def write(directory, steps, *, start=None, layers=True):
    """Write a row of each kind at each step."""
    with contextlib.ExitStack() as stack:
        opened = RunFiles(
            directory,
            total=9,
            start=start,
            stack=stack,
            format_row=format_row,
        )
        for step in steps:
            opened.row({"step": step, "loss": 0.5})
            opened.show(step, {"step": step, "loss": 0.5})
            if layers:
                opened.layers({"step": step, "layers": {}})
        opened.say("done")


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


@pytest.mark.parametrize("start", [None, 1])
def test_run_without_layers_has_no_file_of_them(tmp_path, start):
    write(tmp_path, [2], start=start, layers=False)
    assert names(tmp_path) == {"metrics", "events"}


class Terminal(io.StringIO):
    """Stands for standard error on a terminal."""

    def isatty(self):
        return True


def test_progress_on_a_terminal_shows_where_the_run_is(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    write(tmp_path, [3])
    shown = terminal.getvalue()
    assert all(words in shown for words in ("3/9", "loss 0.5", "ETA", "done\n"))


@pytest.mark.parametrize(("seconds", "said"), [(1, ""), (20, "step 3/9 loss 0.5\n")])
def test_progress_without_a_terminal_is_a_line_now_and_then(
    tmp_path, monkeypatch, capsys, seconds, said
):
    clock = itertools.count(step=seconds)
    monkeypatch.setattr(files.time, "monotonic", lambda: next(clock))
    write(tmp_path, [3])
    assert capsys.readouterr().err == f"{said}done\n"


def test_run_whose_reader_has_gone_goes_on(tmp_path, monkeypatch):
    class Unread(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Unread())
    write(tmp_path, [3])
    assert steps(tmp_path / "metrics.jsonl") == [3]


def test_process_that_does_not_write_is_silent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    silent = Files(tmp_path)
    silent.row({"step": 1})
    silent.layers({"step": 1})
    silent.show(1, {})
    silent.say("done")
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_warning_goes_to_standard_error(capsys):
    warn("careful")
    assert capsys.readouterr() == ("", "careful\n")


def scalars(directory):
    """Return what the event files of a directory hold, as (step, name, value)."""
    found = []
    for path in sorted(directory.glob("events.*")):
        data = path.read_bytes()
        while data:
            # TFRecord: length, its checksum, the record, its checksum.
            length = int.from_bytes(data[:8], "little")
            event = EVENT.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]
            found.extend(
                (event.step, value.tag, value.simple_value)
                for value in event.summary.value
            )
    return found


def test_events_hold_the_finite_numbers_of_each_row(tmp_path):
    with contextlib.ExitStack() as stack:
        opened = RunFiles(
            tmp_path, total=9, start=None, stack=stack, format_row=format_row
        )
        opened.row({"step": 3, "train/loss": 0.5, "learning_rate": 2, "note": "x"})
        opened.row({"step": 4, "train/loss": float("nan")})
    assert scalars(tmp_path) == [(3, "train/loss", 0.5), (3, "learning_rate", 2.0)]
