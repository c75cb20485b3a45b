"""A signal is honoured in every phase of a run, and the run then ends as it would have.

Each phase is made to last far longer than a test, and the signal sent while it does.
"""

import time

import jax
import numpy as np
import pytest

from benchmarks.faults.phases import (
    LONG,
    in_compilation,
    in_data_wait,
    in_evaluation,
    in_loading,
    in_report,
    in_training,
)
from experiments.lars.cli import main
from tests.cases import mostly_slow
from tests.experiments.lars.support import last_state, rows, saved_state

RUN = [
    *("train", "digits", "--devices", "1", "--global-batch", "32", "--steps", "12"),
    *("--eval-every", "0.09", "--checkpoint-every", "0.09", "--eval-batch", "60"),
]
"""Evaluates and saves every 4 steps, and evaluates in 6 batches."""

PHASES = {
    "loading": (in_loading, 0, None),
    "compilation of the step": (in_compilation, 0, 0),
    "compilation of an evaluation": (in_compilation, 1, 4),
    "training": (in_training, 6, 6),
    "data wait": (in_data_wait, (12, 7), 7),
    "data wait of an evaluation": (in_data_wait, (44, 7), 4),
    "first evaluation": (in_evaluation, 2, 4),
    "later evaluation": (in_evaluation, 8, 8),
    "last evaluation": (in_evaluation, 15, 12),
    "report": (in_report, 0, 12),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*RUN, "--run-dir", str(directory)]) == 0
    return directory


@pytest.mark.parametrize(
    ("phase", "number", "saved"),
    mostly_slow(
        PHASES, ["compilation of the step", "training", "data wait", "first evaluation"]
    ),
)
def test_signal_in_a_phase_saves_and_loses_nothing(
    undisturbed, tmp_path, monkeypatch, capfd, phase, number, saved
):
    directory = tmp_path / "run"
    with monkeypatch.context() as patched:
        phase(patched.setattr, number)
        started = time.monotonic()
        assert main([*RUN, "--run-dir", str(directory)]) == 143
        assert time.monotonic() - started < LONG / 2
    said = capfd.readouterr().err
    if saved is None:
        assert "stopped before the first step" in said
        assert not directory.exists()
    else:
        assert f"stopped and saved at step {saved} of 12" in said
    assert "Traceback" not in said
    assert main([*RUN, "--run-dir", str(directory), "--resume-if-any"]) == 0
    assert rows(directory) == rows(undisturbed)
    assert rows(directory, "layers.jsonl") == rows(undisturbed, "layers.jsonl")
    assert last_state(directory) == last_state(undisturbed)


ELASTIC = ["train", "digits", "--global-batch", "64", "--steps", "16"]
ELASTIC += ["--optimizer", "sgd", "--learning-rate", "0.05", "--bn-span", "8"]
"""SGD, which unlike LARS does not forgive a gradient of another size."""


@pytest.mark.slow
def test_run_goes_on_with_other_devices_in_mid_epoch(tmp_path, monkeypatch):
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    whole = ["--devices", "8", "--run-dir"]
    assert main([*ELASTIC, *whole, str(straight)]) == 0
    # Of 22.5 steps an epoch; each stop counts the steps of its own attempt.
    places = [("8", "jit", 5), ("4", "jit", 4), ("1", "jit", 3), ("8", "pmap", None)]
    for devices, backend, stop in places:
        with monkeypatch.context() as patched:
            if stop is not None:
                in_training(patched.setattr, stop)
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
    leaves = (jax.tree.leaves(saved_state(run).params) for run in (moved, straight))
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3)
