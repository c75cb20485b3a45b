"""What the README shows runs as it stands, and takes three minutes to read."""

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import lars_jax

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_examples_run(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", ["main", "test"])
def test_commands_that_set_everything_up_are_marked_once(name):
    marked = re.findall(rf"<!-- {name} -->\s*```bash\n(.*?)```", README, re.S)
    assert len(marked) == 1
    assert marked[0].count("\n") == 1


def test_it_is_short():
    assert README.count("\n") <= 150


def test_citation_is_of_this_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["version"] == lars_jax.__version__ == metadata.version("lars-jax")
    arxiv = [paper["url"].rpartition("/")[2] for paper in found["references"]]
    assert arxiv == ["1708.03888", "1708.02556", "1708.02901"]
