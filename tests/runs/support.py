"""Runs of the toy, and what they leave, as tests compare it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.toy import TOY
from lars_jax.runs.train import restore
from lars_jax.train.record import read_lines

RUN = ["train", "--devices", "1", "--steps", "40", "--eval-every", "10"]
"""Forty steps, evaluated and saved after every tenth."""

TIMINGS = ("images_per_second", "data_wait")


def rows(directory: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a run without what the clock put into them."""
    found = list(read_lines(directory / name))
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def last_state(directory: Path) -> bytes:
    """Return x of the last checkpoint, as bytes."""
    return np.asarray(jax.device_get(restore(TOY, directory).state["x"])).tobytes()


def kept(directory: Path) -> list[int]:
    """Return the steps that have a checkpoint."""
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir())
