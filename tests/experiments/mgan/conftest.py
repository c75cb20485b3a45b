"""Two small finished runs that tests look at and break copies of."""

from pathlib import Path

import pytest

from experiments.mgan.experiment import MGAN, main
from lars_jax.runs.restore import Restored, restore
from tests.experiments.mgan.support import DIGITS, RING


@pytest.fixture(scope="package")
def ring_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished game in the plane; never write to it."""
    directory = tmp_path_factory.mktemp("mgan") / "ring"
    assert main([*RING, "--run-dir", str(directory)]) == 0
    return directory


@pytest.fixture(scope="package")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished game of images; never write to it."""
    directory = tmp_path_factory.mktemp("mgan") / "digits"
    assert main([*DIGITS, "--run-dir", str(directory)]) == 0
    return directory


@pytest.fixture(scope="package")
def ring_end(ring_run: Path) -> Restored:
    """Return the last checkpoint of the game in the plane, with its program."""
    return restore(MGAN, ring_run)


@pytest.fixture(scope="package")
def digits_end(digits_run: Path) -> Restored:
    """Return the last checkpoint of the game of images, with its program."""
    return restore(MGAN, digits_run)
