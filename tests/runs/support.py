"""Runs of the toy, and what they leave, as tests compare it."""

from pathlib import Path

import jax
import numpy as np

from experiments.toy import TOY
from lars_jax.runs.restore import restore

RUN = ["train", "--devices", "1", "--steps", "40", "--eval-every", "10"]
"""Forty steps, evaluated and saved after every tenth."""


def last_state(directory: Path) -> bytes:
    """Return x of the last checkpoint, as bytes."""
    return np.asarray(jax.device_get(restore(TOY, directory).state["x"])).tobytes()


def kept(directory: Path) -> list[int]:
    """Return the steps that have a checkpoint."""
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir())
