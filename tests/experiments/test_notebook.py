"""The quickstart notebook runs from top to bottom and says what it should."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
# Jupyter's own clients leave sockets and loops to the garbage collector.
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")
def test_quickstart_runs_and_learns():
    path = ROOT / "experiments" / "notebooks" / "quickstart.ipynb"
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    accuracy = float(text.split(" % of 360 test digits")[0].split()[-1])
    assert accuracy > 97
    assert "stem/kernel" in text or "conv1/kernel" in text
