"""A finished run of the toy that tests look at and break copies of."""

from pathlib import Path

import pytest

from experiments.toy import main
from tests.runs.support import RUN


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of forty steps without a break; never write to it."""
    directory = tmp_path_factory.mktemp("toy") / "run"
    assert main([*RUN, "--run-dir", str(directory)]) == 0
    return directory
