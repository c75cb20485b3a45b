"""Several processes train what one does, stop together, and end when one is lost."""

import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks.common.processes import Local, free_port
from tests.data.support import write_digits
from tests.experiments.lars.support import saved_state
from tests.whole_runs import one_device, rows

RUN = [
    *("train", "digits", "--global-batch", "32", "--steps", "40", "--bn-span", "8"),
    *("--optimizer", "sgd", "--learning-rate", "0.02", "--eval-every", "0.5"),
    *("--checkpoint-every", "0.2", "--warmup-epochs", "0"),
]
"""SGD, which unlike LARS does not forgive a gradient of another size."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    directory = tmp_path_factory.mktemp("alone")
    Local(1, directory, *RUN, "--run-dir", str(directory / "run")).end(0)
    return directory / "run"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    words = [*RUN, "--placement", "host", "--run-dir", str(directory / "run")]
    Local(2, directory, *words).end(0, 0)
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


def test_signal_to_one_of_two_stops_both_at_the_same_step(alone, tmp_path):
    directory = tmp_path / "run"
    words = [*RUN, "--run-dir", str(directory)]
    local = Local(2, tmp_path, *words, "--backend", "shard_map")
    local.wait_for_step(directory, 5)
    local.send(0, signal.SIGTERM)
    local.end(143, 143)
    assert "stopped and saved at step" in local.said(0)
    Local(2, tmp_path, *words, "--backend", "pmap", "--resume").end(0, 0)
    assert_near(directory, alone)


def test_process_whose_peer_is_killed_ends_and_another_goes_on_alone(alone, tmp_path):
    directory = tmp_path / "run"
    words = [*RUN, "--run-dir", str(directory), "--resume-if-any"]
    local = Local(2, tmp_path, *words)
    local.wait_for_step(directory, 12)
    local.send(1, signal.SIGKILL)
    started = time.monotonic()
    local.end(75, -9)
    assert time.monotonic() - started < 10
    assert local.said(0).count("process 1 was lost") == 1, local.said(0)
    assert "Traceback" not in local.said(0)
    Local(1, tmp_path, *words).end(0)
    assert [row["processes"] for row in rows(directory, "attempts.jsonl")] == [2, 1]
    assert_near(directory, alone)


@pytest.mark.parametrize("kind", ["a file gone", "all gone"])
def test_process_that_sees_other_data_is_named_before_the_first_step(tmp_path, kind):
    for home in ("one", "other"):
        for split in ("train", "test"):
            write_digits(tmp_path / home / "data", split, 40)
    place = tmp_path / "other" / "data" / "train"
    if kind == "all gone":
        place.rename(tmp_path / "elsewhere")
        found = (
            f"a folder data set must be PATH/SPLIT/CLASS/image; got no folder {place}"
        )
    else:
        gone = min((place / "3").iterdir())
        gone.unlink()
        found = f"train: 3/{gone.name} is missing"
    address = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
    words = ["train", "smoke", "--dataset", "folder:~/data", "--global-batch", "16"]
    words += ["--run-dir", str(tmp_path / "run"), *address]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "experiments.lars", *words, "--process-id", str(k)],
            env=one_device() | {"HOME": str(tmp_path / home)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k, home in enumerate(("one", "other"))
    ]
    said = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2], said
    assert f"on process 1, other than on process 0, {found}" in said[0]
    assert not (tmp_path / "run").exists()
