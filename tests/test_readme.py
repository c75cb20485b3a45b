"""What the README shows runs as it stands, and takes three minutes to read."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


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
