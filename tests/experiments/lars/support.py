"""What a run has left, as tests compare it."""

from typing import Any

import jax
import numpy as np

from experiments.lars.run import load_config
from experiments.lars.trainer import Trainer
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.record import read_lines

TIMINGS = ("images_per_second", "data_wait")


def rows(directory, name="metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a run without what the clock put into them."""
    found = list(read_lines(directory / name))
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def saved_state(directory) -> Any:
    """Return the state of the last checkpoint."""
    trainer = Trainer.create(load_config(directory))
    checkpoints = Checkpoints(directory / "checkpoints", best="eval/accuracy")
    state = checkpoints.restore(checkpoints.steps()[-1], trainer.drawn_state())
    checkpoints.close()
    return jax.device_get(state)


def last_state(directory) -> list[bytes]:
    """Return the leaves of the last checkpoint, as bytes."""
    leaves = jax.tree.leaves(saved_state(directory))
    return [np.asarray(leaf).tobytes() for leaf in leaves]
