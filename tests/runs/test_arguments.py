"""Words become a preset and typed fields, or a line on what is wrong."""

from dataclasses import dataclass
from typing import Literal

import pytest

from lars_jax import InputError
from lars_jax.runs.arguments import parse, split_preset

PRESETS = {"small", "large"}


@dataclass(frozen=True)
class Add:
    """Add a number of times."""

    times: int
    """How often."""
    kind: Literal["plain", "fast"] = "plain"
    """How."""
    seed: int = 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("large", [])),
        (["small"], ("small", [])),
        (["unknown", "--seed", "1"], ("unknown", ["--seed", "1"])),
        (["--seed", "1"], ("large", ["--seed", "1"])),
        (["--network", "small"], ("large", ["--network", "small"])),
    ],
)
def test_preset_comes_first_or_not_at_all(words, expected):
    assert split_preset(words, PRESETS, "large") == expected


@pytest.mark.parametrize("words", [["--seed=1", "small"], ["--seed", "1", "small"]])
def test_preset_at_the_end_is_refused(words):
    with pytest.raises(InputError) as caught:
        split_preset(words, PRESETS, "large")
    assert str(caught.value) == (
        "PRESET comes right after the verb; got small at the end: move it to the front"
    )


def test_flags_are_fields_with_their_types():
    words = ["--times", "3", "--kind", "fast"]
    assert parse(Add, words, prog="sums add") == Add(3, "fast")


def test_default_stands_where_no_flag_is_given():
    found = parse(Add, ["--seed", "2"], prog="sums add", default=Add(5, "fast"))
    assert found == Add(5, "fast", 2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--times"),
        (["--times", "many"], "--times"),
        (["--times", "1", "--kind", "slow"], "slow"),
        (["--tims", "1"], "--times"),
    ],
)
def test_wrong_words_are_one_plain_line(words, says, capsys):
    with pytest.raises(InputError) as caught:
        parse(Add, words, prog="sums add")
    line = str(caught.value)
    assert says in line
    assert not set("\n│╭╰─") & set(line)
    assert capsys.readouterr() == ("", "")


def test_help_names_the_command_and_the_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Add, ["--help"], prog="sums add [PRESET]", default=Add(5))
    assert not stop.value.code
    said = capsys.readouterr().out
    assert "usage: sums add [PRESET]" in said
    assert "Add a number of times." in said
    assert "(default: 5)" in said
