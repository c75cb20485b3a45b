"""Several processes train what one does, stop together, and end when one is lost."""

import shutil
import signal
import time

import jax
import numpy as np
import pytest

from benchmarks.common.processes import Local
from tests.experiments.lars.support import last_state, rows, saved_state

RUN = [
    *("train", "digits", "--global-batch", "32", "--steps", "40", "--bn-span", "8"),
    *("--optimizer", "sgd", "--learning-rate", "0.02", "--eval-every", "0.5"),
    *("--checkpoint-every", "0.2"),
]
"""SGD, which unlike LARS does not forgive a gradient of another size."""

pytestmark = pytest.mark.slow


def run(count, directory, scratch, *more):
    """Run to the end and return the processes."""
    local = Local(count, scratch, *RUN, "--run-dir", str(directory), *more)
    local.end(*[0] * count)
    return local


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    directory = tmp_path_factory.mktemp("alone")
    run(1, directory / "run", directory)
    return directory / "run"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    run(2, directory / "run", directory, "--placement", "host")
    return directory / "run"


def assert_near(found, expected):
    """Compare two runs whose sums are taken in another order.

    Blank corners of the digits lie at the kink of a ReLU: once a rounding error has
    pushed them over it, a gradient differs by a few percent and the weights by 1e-3.
    """
    one, other = rows(found), rows(expected)
    assert [row["step"] for row in one] == [row["step"] for row in other]
    losses = [[row.get("train/loss", 0.0) for row in run] for run in (one, other)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    leaves = (jax.tree.leaves(saved_state(run).params) for run in (found, expected))
    for left, right in zip(*leaves, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=2e-3)


def test_two_processes_end_where_one_does(two, alone):
    assert_near(two, alone)
    counted = [row["eval/count"] for row in rows(two) if "eval/count" in row]
    assert counted == [360.0, 360.0]


def test_one_process_writes_and_the_other_is_quiet(two):
    assert rows(two, "attempts.jsonl")[0]["processes"] == 2
    steps = [row["step"] for row in rows(two) if "train/loss" in row]
    assert steps == list(range(1, 41))
    assert len(list(two.glob("events*"))) == 1
    assert (two / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("victim", "backend"), [(0, "shard_map"), (1, "pmap")], ids=["first", "second"]
)
def test_signal_to_one_of_two_stops_both_at_the_same_step(
    alone, tmp_path, victim, backend
):
    directory = tmp_path / "run"
    words = [*RUN, "--backend", backend, "--run-dir", str(directory)]
    local = Local(2, tmp_path, *words)
    local.wait_for_step(directory, 5)
    local.send(victim, signal.SIGTERM)
    local.end(143, 143)
    assert "stopped and saved at step" in local.said(0)
    again = Local(2, tmp_path, *words, "--resume")
    again.end(0, 0)
    assert_near(directory, alone)


def test_processes_whose_peer_is_killed_end_and_go_on_in_other_numbers(alone, tmp_path):
    directory = tmp_path / "run"
    words = [*RUN, "--run-dir", str(directory), "--resume-if-any"]
    local = Local(4, tmp_path, *words)
    local.wait_for_step(directory, 12)
    local.send(2, signal.SIGKILL)
    started = time.monotonic()
    local.end(75, 75, -9, 75)
    assert time.monotonic() - started < 10
    for index in (0, 1, 3):
        said = local.said(index)
        assert said.count("process 2 was lost") == 1, said
        assert "Traceback" not in said
    # The first of two is lost next, then one process goes on alone.
    local = Local(2, tmp_path, *words)
    local.wait_for_step(directory, 25)
    local.send(0, signal.SIGKILL)
    started = time.monotonic()
    local.end(-9, 75)
    assert time.monotonic() - started < 10
    assert "process 0 was lost" in local.said(1)
    run(1, directory, tmp_path, "--resume-if-any")
    assert [row["processes"] for row in rows(directory, "attempts.jsonl")] == [4, 2, 1]
    assert_near(directory, alone)


def test_input_that_cannot_be_used_ends_all_with_its_line(two, tmp_path):
    copy = shutil.copytree(two, tmp_path / "run")
    words = [*RUN, "--placement", "host", "--run-dir", str(copy)]
    local = Local(2, tmp_path, *words)
    local.end(2, 2)
    for index in (0, 1):
        assert "already holds this run" in local.said(index)
        assert "Traceback" not in local.said(index)


def test_damaged_checkpoint_is_set_aside_by_all(two, tmp_path):
    copy = shutil.copytree(two, tmp_path / "run")
    newest = max(int(path.name) for path in (copy / "checkpoints").iterdir())
    for path in (copy / "checkpoints" / str(newest)).rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    words = [*RUN, "--placement", "host", "--run-dir", str(copy), "--resume"]
    local = Local(2, tmp_path, *words)
    local.end(0, 0)
    assert f"broken-checkpoint-{newest}" in local.said(0)
    assert rows(copy) == rows(two)
    assert last_state(copy) == last_state(two)
