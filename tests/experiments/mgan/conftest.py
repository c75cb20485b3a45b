"""Two small finished runs that tests look at and break copies of."""

from pathlib import Path

import pytest

from experiments.mgan.experiment import main
from tests.experiments.mgan.support import DIGITS, RING


@pytest.fixture(scope="session")
def ring_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished game in the plane; never write to it."""
    directory = tmp_path_factory.mktemp("mgan") / "ring"
    assert main([*RING, "--run-dir", str(directory)]) == 0
    return directory


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished game of images; never write to it."""
    directory = tmp_path_factory.mktemp("mgan") / "digits"
    assert main([*DIGITS, "--run-dir", str(directory)]) == 0
    return directory
