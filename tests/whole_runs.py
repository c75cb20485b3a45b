"""Whole runs, as the tests of every experiment stop and compare them."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.common.processes import Local
from lars_jax.runs import Experiment
from lars_jax.runs.restore import restore
from lars_jax.train.record import read_lines

TIMINGS = ("images_per_second", "data_wait")


def rows(directory: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a run without what the clock put into them."""
    found = list(read_lines(directory / name))
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


def last_leaves(experiment: Experiment[Any], directory: Path) -> list[bytes]:
    """Return the leaves of the last checkpoint, as bytes."""
    leaves = jax.tree.leaves(jax.device_get(restore(experiment, directory).state))
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def stopped(
    directory: Path, step: int, number: int, *words: str, module: str
) -> tuple[int, str]:
    """Start a process, send it a signal once it has logged a step; return its end.

    Args:
        directory: the run directory.
        step: that its metrics must have reached.
        number: of the signal.
        words: what follows the module, but for `--run-dir`.
        module: such as `experiments.toy`.

    Returns:
        The exit status, and all that the process said.
    """
    words = (*words, "--run-dir", str(directory))
    local = Local(1, directory.parent, *words, module=module)
    local.wait_for_step(directory, step)
    local.send(0, number)
    (status,) = local.wait()
    return status, local.said(0)


def one_device() -> dict[str, str]:
    """Return the environment of a process that sees one CPU."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
