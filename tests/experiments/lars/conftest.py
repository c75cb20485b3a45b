"""A finished run to look at and to break copies of, and a network for the others."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from experiments.lars import program
from experiments.lars.experiment import main
from tests.experiments.lars.support import tiny

SMOKE = ["train", "smoke", "--devices", "1", "--global-batch", "16"]
SMOKE += ["--eval-every", "0.02"]
"""Four steps, evaluated after every second."""


@pytest.fixture(scope="package")
def finished_and_traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return the directory of a finished run, and how often its step was traced."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    with mock.patch.object(program, "update", side_effect=program.update) as update:
        assert main([*SMOKE, "--run-dir", str(directory)]) == 0
    return directory, update.call_count


@pytest.fixture(scope="package")
def finished(finished_and_traces: tuple[Path, int]) -> Path:
    """Return the directory of a finished four-step run; never write to it."""
    return finished_and_traces[0]


@pytest.fixture(scope="module")
def tiny_network() -> Iterator[None]:
    """Let a tiny network stand in for every other, in all tests of a module."""
    with mock.patch.object(program, "build", tiny):
        yield
