"""A small finished run that tests look at and break copies of."""

from pathlib import Path

import pytest

from experiments.lars.experiment import main

SMOKE = ["train", "smoke", "--devices", "1", "--global-batch", "16"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished four-step run; never write to it."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    assert main([*SMOKE, "--run-dir", str(directory)]) == 0
    return directory
