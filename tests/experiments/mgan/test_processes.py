"""A game in two processes is the one that a single process plays."""

import jax
import numpy as np
import pytest

from benchmarks.common.processes import Local
from tests.experiments.mgan.support import DIGITS, RING, rows, saved_state

pytestmark = pytest.mark.slow


def in_two(words, directory, scratch):
    own = words.index("--devices")  # Each process brings its own.
    words = [*words[:own], *words[own + 2 :], "--resume-if-any"]
    words += ["--run-dir", str(directory)]
    return Local(2, scratch, *words, module="experiments.mgan")


def assert_near(found, expected):
    one, other = rows(found), rows(expected)
    assert [row["step"] for row in one] == [row["step"] for row in other]
    losses = [[row["loss"] for row in run if "loss" in row] for run in (one, other)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    states = (saved_state(run).generators.params for run in (found, expected))
    leaves = (jax.tree.leaves(state) for state in states)
    for left, right in zip(*leaves, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["ring", "digits"])
def test_two_processes_end_where_one_does(request, tmp_path, name):
    words = RING if name == "ring" else DIGITS
    in_two(words, tmp_path / "run", tmp_path).end(0, 0)
    assert_near(tmp_path / "run", request.getfixturevalue(f"{name}_run"))
    (attempt,) = rows(tmp_path / "run", "attempts.jsonl")
    assert (attempt["processes"], attempt["devices"]) == (2, 2)
