"""Samples that a game leaves on its way, a file for each evaluation."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.mgan.game import GameState
from experiments.mgan.inputs import to_bytes
from experiments.mgan.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.files import make_directory
from lars_jax.train.weights import read_arrays, save_weights

POINTS = 512
"""Samples of a picture in the plane, as in Figure 2c of the paper."""

COLUMNS = 12
"""Images of each generator on a sheet."""

PICTURE_USE = 1
"""Tells the samples of pictures from those that are measured."""


class Snapshot(NamedTuple):
    """Samples after a step.

    Attributes:
        step: of the game.
        values: float32 [N, 2], or images uint8 [K, COLUMNS, S, S, channels].
        generator: of each point, int64 [N]; of images, of each row.
    """

    step: int
    values: np.ndarray
    generator: np.ndarray


def take_snapshot(trainer: Trainer, state: GameState) -> Snapshot:
    """Return samples of a state.

    Points are of the generators as they are, images of their moving average.
    """
    step = int(state.generators.step)
    if trainer.inputs.image is None:
        found = trainer.sample(state, POINTS, averaged=False, use=PICTURE_USE)
        return Snapshot(step, *found)
    images = trainer.sample_rows(state, COLUMNS, use=PICTURE_USE)
    rows = to_bytes(np.swapaxes(images, 0, 1))
    return Snapshot(step, rows, np.arange(len(rows)))


def save_snapshot(directory: Path, snapshot: Snapshot) -> None:
    """Write a snapshot among those of a run, whole or not at all."""
    place = directory / "samples"
    make_directory(place)
    save_weights(place / f"{snapshot.step:09d}.npz", snapshot._asdict())


def load_snapshots(directory: Path, until: int | None = None) -> list[Snapshot]:
    """Return the snapshots of a run by rising step.

    Args:
        directory: of the run.
        until: the last step that counts; later ones are of a run that was cut short
            and goes on from earlier.

    Raises:
        InputError: a file is not what was written.
    """
    found = []
    # Not those under a temporary name, which a process that was killed may leave.
    for path in sorted((directory / "samples").glob("[0-9]*.npz")):
        step, values, generator = read_arrays(path, Snapshot._fields).values()
        if np.ndim(step):
            raise InputError(
                f"{path} must have one step; it has {step.size}: remove it to report "
                "without it"
            )
        if until is None or step <= until:
            found.append(Snapshot(int(step), values, generator))
    return found
