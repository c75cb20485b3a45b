"""Small games, and what they have left, as tests compare it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.mgan.experiment import MGAN
from experiments.mgan.game import GameState
from lars_jax.runs.restore import restore
from lars_jax.train.record import read_lines

RING = [
    *("train", "ring", "--devices", "1", "--width", "16", "--noise-size", "8"),
    *("--generators", "4", "--modes", "4", "--batch", "32", "--fakes", "8"),
    *("--steps", "20", "--steps-per-call", "5", "--eval-every", "10"),
    *("--checkpoint-every", "10", "--eval-samples", "100"),
    *("--init-deviation", "0.3", "--average-decay", "0.9"),
    *("--generator-rate", "0.01", "--discriminator-rate", "0.01"),
]
"""Twenty steps in four calls, evaluated and saved after two of them and at the end.

Weights and rates are such that samples are spread, and move.
"""

DIGITS = [
    *("train", "digits", "--devices", "1", "--width", "4", "--noise-size", "8"),
    *("--generators", "3", "--batch", "32", "--fakes", "4"),
    *("--steps", "10", "--steps-per-call", "5", "--eval-every", "10"),
    *("--checkpoint-every", "10", "--eval-samples", "50"),
]

TIMINGS = ("images_per_second", "steps_per_second", "data_wait")


def rows(directory: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a run without what the clock put into them."""
    found = list(read_lines(directory / name))
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def evaluations(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of a run that are evaluations."""
    return [row for row in rows(directory) if "eval/count" in row]


def saved_state(directory: Path) -> GameState:
    """Return the state of the last checkpoint."""
    return jax.device_get(restore(MGAN, directory).state)


def same_bits(one: Any, other: Any) -> None:
    """Hold two trees together, leaf by leaf."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def close(one: Any, other: Any, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Hold two trees together to rounding, leaf by leaf."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other
    )


def largest_gap(one: Any, other: Any) -> float:
    """Return the largest difference of two trees of one structure."""
    gaps = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), one, other)
    return max(jax.tree.leaves(gaps))


def contents(directory: Path) -> dict[Path, bytes]:
    """Return every file below a directory."""
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
