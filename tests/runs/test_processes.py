"""Several processes train what one does, stop together, and end when one is lost."""

import shutil
import signal
import time

import pytest

from benchmarks.common.processes import Local
from tests.runs.support import last_state
from tests.whole_runs import rows

RUN = ["train", "--rate", "0.999", "--steps", "2000", "--eval-every", "500"]
RUN += ["--checkpoint-every", "250"]

pytestmark = pytest.mark.slow


def start(count, directory, scratch, *more):
    words = [*RUN, "--run-dir", str(directory), "--resume-if-any", *more]
    return Local(count, scratch, *words, module="experiments.toy")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    start(2, directory / "run", directory).end(0, 0)
    return directory / "run"


def test_two_processes_end_where_one_does(two, tmp_path):
    start(1, tmp_path / "run", tmp_path).end(0)
    assert rows(tmp_path / "run") == rows(two)
    assert last_state(tmp_path / "run") == last_state(two)
    (attempt,) = rows(two, "attempts.jsonl")
    assert (attempt["processes"], attempt["devices"]) == (2, 2)


@pytest.mark.parametrize("victim", [0, 1])
def test_signal_to_one_of_two_stops_both_and_loses_nothing(two, tmp_path, victim):
    directory = tmp_path / "run"
    local = start(2, directory, tmp_path)
    local.wait_for_step(directory, 100)
    local.send(victim, signal.SIGTERM)
    local.end(143, 143)
    assert "stopped and saved at step" in local.said(0)
    start(2, directory, tmp_path).end(0, 0)
    assert rows(directory) == rows(two)
    assert last_state(directory) == last_state(two)


def test_processes_whose_peer_is_killed_end_and_go_on_in_other_numbers(two, tmp_path):
    directory = tmp_path / "run"
    local = start(3, directory, tmp_path)
    local.wait_for_step(directory, 300)
    local.send(1, signal.SIGKILL)
    started = time.monotonic()
    local.end(75, -9, 75)
    assert time.monotonic() - started < 10
    for index in (0, 2):
        assert local.said(index).count("process 1 was lost") == 1
        assert "Traceback" not in local.said(index)
    start(2, directory, tmp_path).end(0, 0)
    assert rows(directory) == rows(two)
    assert last_state(directory) == last_state(two)
    found = [row["processes"] for row in rows(directory, "attempts.jsonl")]
    assert found == [3, 2]


def test_damaged_checkpoint_is_set_aside_by_all(two, tmp_path):
    copy = shutil.copytree(two, tmp_path / "run")
    for path in (copy / "checkpoints" / "2000").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    local = start(2, copy, tmp_path)
    local.end(0, 0)
    assert "broken-checkpoint-2000" in local.said(0)
    assert rows(copy) == rows(two)
    assert last_state(copy) == last_state(two)


def test_input_that_cannot_be_used_ends_all_with_its_line(two, tmp_path):
    words = [*RUN, "--run-dir", str(shutil.copytree(two, tmp_path / "run"))]
    local = Local(2, tmp_path, *words, module="experiments.toy")
    local.end(2, 2)
    for index in (0, 1):
        assert "already holds this run" in local.said(index)
        assert "Traceback" not in local.said(index)
