"""The notebooks run from top to bottom and say what they should."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def printed(name: str) -> str:
    """Return what the cells of a notebook print when it is run."""
    path = ROOT / "experiments" / "notebooks" / name
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


# Jupyter's own clients leave sockets and loops to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


def test_quickstart_runs_and_learns():
    text = printed("quickstart.ipynb")
    accuracy = float(text.split(" % of 360 test digits")[0].split()[-1])
    assert accuracy > 97
    assert "stem/kernel" in text or "conv1/kernel" in text


def test_game_covers_every_mode():
    text = printed("mgan.ipynb")
    last = [line for line in text.splitlines() if line.startswith("step ")][-1]
    assert "8 modes" in last
    # On its way from 0.5, a thousand steps before, to the 0.03 of true samples.
    assert float(last.split("distance ")[1].split(",")[0]) < 0.4
