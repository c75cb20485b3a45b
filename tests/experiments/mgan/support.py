"""Small games, and what they have left, as tests compare it."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.mgan.experiment import MGAN
from experiments.mgan.game import GameState
from lars_jax.runs.train import restore
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.record import read_lines

RING = [
    *("train", "ring", "--devices", "1", "--width", "16", "--noise-size", "8"),
    *("--batch", "64", "--fakes", "16", "--steps", "40", "--steps-per-call", "10"),
    *("--eval-every", "20", "--checkpoint-every", "10", "--eval-samples", "500"),
    *("--init-deviation", "0.3", "--average-decay", "0.9"),
    *("--generator-rate", "0.01", "--discriminator-rate", "0.01"),
]
"""Forty steps in four calls; evaluated after two of them, saved after each.

Weights and rates are such that samples are spread, and move.
"""

DIGITS = [
    *("train", "digits", "--devices", "1", "--width", "4", "--noise-size", "8"),
    *("--batch", "32", "--fakes", "4", "--steps", "20", "--steps-per-call", "5"),
    *("--eval-every", "10", "--checkpoint-every", "5", "--eval-samples", "100"),
]

TIMINGS = ("images_per_second", "steps_per_second", "data_wait")


def rows(directory: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a run without what the clock put into them."""
    found = list(read_lines(directory / name))
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def saved_state(directory: Path) -> GameState:
    """Return the state of the last checkpoint."""
    return jax.device_get(restore(MGAN, directory).state)


def last_state(directory: Path) -> list[bytes]:
    """Return the leaves of the last checkpoint, as bytes."""
    leaves = jax.tree.leaves(saved_state(directory))
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def contents(directory: Path) -> dict[Path, bytes]:
    """Return every file below a directory."""
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def in_call(patch: Callable[..., None], number: int) -> None:
    """Send the signal while the call of the given number, from 1, is under way."""
    original, calls = AheadOfTime.__call__, iter(range(1, 1000))

    def called(self: AheadOfTime, *arguments: Any) -> Any:
        found = original(self, *arguments)
        if next(calls) == number:
            signal.raise_signal(signal.SIGTERM)
        return found

    patch(AheadOfTime, "__call__", called)
