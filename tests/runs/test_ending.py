"""A command that cannot go on says why in one line, and its status says what kind."""

import errno
import os

import pytest

from lars_jax import InputError
from lars_jax.runs.ending import TERMINATED, report_error, run_among
from lars_jax.train import NonFiniteError
from lars_jax.train.processes import Processes


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("seed must be 0"), 2, "error: seed must be 0\n"),
        (KeyboardInterrupt(), 130, "stopped without saving\n"),
        (
            OSError(errno.ENOSPC, "full", "metrics.jsonl"),
            2,
            "error: metrics.jsonl could not be used (full): free some space, then run "
            "the command again (`train` with --resume)\n",
        ),
        (
            PermissionError(errno.EACCES, "denied"),
            2,
            "error: standard output or a file could not be used (denied): correct the "
            "path or its permissions, or name another place\n",
        ),
        (
            MemoryError(),
            2,
            "error: memory must hold state, batch and data; it does not (out of "
            "memory): lower the batch or the network, or use more devices\n",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
            2,
            "error: memory must hold state, batch and data; it does not "
            "(RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.): lower the batch "
            "or the network, or use more devices\n",
        ),
        (
            InputError("got a\nb\a\udcff"),
            2,
            "error: got a\\nb\\x07\\udcff\n",
        ),
    ],
    ids=["input", "Ctrl-C", "full disk", "no permission", "memory", "device", "name"],
)
def test_error_that_is_known_is_told(error, status, line, capsys):
    assert report_error(error) == status
    assert capsys.readouterr() == ("", line)


def test_training_that_diverges_has_its_own_status(capsys):
    assert report_error(NonFiniteError("training must stay finite")) == 3
    assert capsys.readouterr() == ("", "error: training must stay finite\n")


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), SystemExit(2)])
def test_defect_is_left_to_its_traceback(error, capsys):
    assert report_error(error) is None
    assert capsys.readouterr() == ("", "")


def test_reader_that_has_gone_ends_it_without_a_word(capfd):
    kept = os.dup(1)
    try:
        assert report_error(BrokenPipeError()) == 141
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert capfd.readouterr().err == ""


class Left(BaseException):
    """Stands for the end of a process, so that a test outlives it."""


class Played(Processes):
    """Processes that note how they were first left: status, whether the others agree.

    Real ones never come back from that.
    """

    first: tuple[int, bool] | None = None

    def leave(self, status, *, agreed):
        self.first = self.first or (status, agreed)
        raise Left

    def wait_for_news(self):
        print("waited")


def ended(run):
    processes = Played()
    with pytest.raises(Left):
        run_among(processes, run)
    return processes.first


def fail(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize("status", [0, 143])
def test_run_that_ends_as_agreed_waits_for_the_others(status):
    assert ended(lambda: status) == (status, True)


def test_process_that_fails_leaves_without_the_others(capsys):
    assert ended(fail(InputError("seed must be 0"))) == (2, False)
    assert capsys.readouterr() == ("", "error: seed must be 0\n")


def test_defect_waits_for_news_and_shows_its_traceback(capsys):
    assert ended(fail(ZeroDivisionError("by zero"))) == (1, False)
    printed = capsys.readouterr()
    assert printed.out == "waited\n"
    assert "ZeroDivisionError: by zero" in printed.err


def test_status_of_a_signal_is_that_of_a_shell():
    assert TERMINATED == 128 + 15
