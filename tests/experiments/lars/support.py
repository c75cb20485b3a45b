"""What a run has left, as tests compare it."""

from typing import Any

import jax
import numpy as np

from experiments.lars.experiment import LARS
from lars_jax.runs.train import restore
from lars_jax.train.record import read_lines

TIMINGS = ("images_per_second", "data_wait")


def rows(directory, name="metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a run without what the clock put into them."""
    found = list(read_lines(directory / name))
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def saved_state(directory) -> Any:
    """Return the state of the last checkpoint."""
    return jax.device_get(restore(LARS, directory).state)


def last_state(directory) -> list[bytes]:
    """Return the leaves of the last checkpoint, as bytes."""
    leaves = jax.tree.leaves(saved_state(directory))
    return [np.asarray(leaf).tobytes() for leaf in leaves]
