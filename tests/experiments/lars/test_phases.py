"""A signal is honoured in every phase of a run, and the run then ends as it would have.

Each phase is made to last far longer than a test, and the signal sent while it does.
"""

import time

import numpy as np
import pytest

from benchmarks.faults.phases import LONG, disturbed, terminate
from experiments.lars.experiment import LARS, main
from lars_jax.runs import cli
from lars_jax.train.ahead import AheadOfTime
from tests.experiments.lars.support import error, saved_state
from tests.whole_runs import last_leaves, rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_network")]

RUN = [
    *("train", "digits", "--devices", "1", "--global-batch", "32", "--steps", "12"),
    *("--eval-every", "0.09", "--checkpoint-every", "0.09", "--eval-batch", "60"),
    *("--warmup-epochs", "0"),
]
"""Evaluates and saves every 4 steps, and evaluates in 6 batches."""

PHASES = {
    # name: (phase, number of the event, step that is saved)
    "compilation of an evaluation": ("compilation", 1, 4),
    # Rows are looked at where the loop waits for them, before an evaluation.
    "training": ("training", 5, 8),
    # Of an evaluation there are 44 batches for statistics, and 6 of its own.
    "data wait": ("data wait", 4 + 44 + 6 + 3, 7),
    "data wait of an evaluation": ("data wait", 4 + 7, 4),
    "report": ("finish", 0, 12),
}
"""Phases of the shell are tested with `experiments.toy`; these wait in our code."""


@pytest.fixture(scope="module")
def undisturbed(tiny_network, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*RUN, "--run-dir", str(directory)]) == 0
    return directory


@pytest.mark.parametrize(("phase", "number", "saved"), PHASES.values(), ids=PHASES)
def test_signal_in_a_phase_saves_and_loses_nothing(
    undisturbed, tmp_path, capfd, phase, number, saved
):
    directory = tmp_path / "run"
    with disturbed(LARS, phase, number) as experiment:
        started = time.monotonic()
        assert cli.main(experiment, [*RUN, "--run-dir", str(directory)]) == 143
        assert time.monotonic() - started < LONG / 2
    said = capfd.readouterr().err
    assert f"stopped and saved at step {saved} of 12" in said
    assert "Traceback" not in said
    assert main([*RUN, "--run-dir", str(directory), "--resume-if-any"]) == 0
    assert rows(directory) == rows(undisturbed)
    assert rows(directory, "layers.jsonl") == rows(undisturbed, "layers.jsonl")
    assert last_leaves(LARS, directory) == last_leaves(LARS, undisturbed)


ELASTIC = ["train", "digits", "--global-batch", "64", "--steps", "16"]
ELASTIC += ["--warmup-epochs", "0"]
ELASTIC += ["--optimizer", "sgd", "--learning-rate", "0.05", "--bn-span", "8"]
"""SGD, which unlike LARS does not forgive a gradient of another size."""


def in_step(patch, step):
    """Send the signal while the step of the given number, from 1, is under way."""
    original, count = AheadOfTime.__call__, iter(range(1, 1000))

    def stepped(self, state, batch, shared):
        found = original(self, state, batch, shared)
        if "mask" not in batch and isinstance(found, tuple) and next(count) == step:
            terminate()
        return found

    patch(AheadOfTime, "__call__", stepped)


def test_run_goes_on_with_other_devices_in_mid_epoch(tmp_path, monkeypatch):
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    whole = ["--devices", "8", "--run-dir"]
    assert main([*ELASTIC, *whole, str(straight)]) == 0
    # Of 22.5 steps an epoch; each stop counts the steps of its own attempt.
    places = [("8", "jit", 5), ("4", "jit", 4), ("1", "jit", 3), ("8", "pmap", None)]
    for devices, backend, stop in places:
        with monkeypatch.context() as patched:
            if stop is not None:
                in_step(patched.setattr, stop)
            words = ["--devices", devices, "--backend", backend]
            status = main(
                [*ELASTIC, *words, "--run-dir", str(moved), "--resume-if-any"]
            )
        assert status == (0 if stop is None else 143)
    attempts = rows(moved, "attempts.jsonl")
    assert [row["devices"] for row in attempts] == [8, 4, 1, 8]
    assert [row["step"] for row in attempts] == [0, 5, 9, 12]
    found, expected = rows(moved), rows(straight)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    losses = [[row.get("train/loss", 0.0) for row in run] for run in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    ends = (saved_state(run).params for run in (moved, straight))
    assert error(*ends) < 1e-3
