"""Words become a verb, a preset and typed fields, or a line on what is wrong."""

import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from lars_jax import InputError
from lars_jax.runs import dispatch, parse, run_command, split_preset

USAGE = "usage: sums VERB ...\n"
PRESETS = {"small", "large"}


@dataclass(frozen=True)
class Add:
    """Add a number of times."""

    times: int
    """How often."""
    kind: Literal["plain", "fast"] = "plain"
    """How."""
    seed: int = 0


def add(words):
    if words == ["badly"]:
        raise InputError("numbers must be numbers")
    if words == ["wrongly"]:
        raise ZeroDivisionError
    return len(words)


def run(words, action=run_command):
    return action(words, {"add": add, "drop": len}, program="sums", usage=USAGE)


def test_verb_takes_the_words_after_it():
    assert run(["add", "1", "2"], dispatch) == 2
    assert run(("drop",), dispatch) == 0


@pytest.mark.parametrize(
    ("words", "status"), [([], 2), (["--help"], 0), (["-h", "add"], 0)]
)
def test_usage_is_printed_where_no_verb_is_named(words, status, capsys):
    assert run(words) == status
    assert capsys.readouterr() == (USAGE, "")


def test_unknown_verb_is_a_line_and_status_two(capsys):
    assert run(["fly"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: the verb must be one of add, drop; got 'fly': see sums --help\n",
    )


def test_error_of_a_verb_is_a_line_and_status_two(capsys):
    assert run(["add", "badly"]) == 2
    assert capsys.readouterr() == ("", "error: numbers must be numbers\n")


def test_defect_of_a_verb_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(["add", "wrongly"])


def test_words_are_those_of_the_process_where_none_are_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sums", "add", "1"])
    assert run(None) == 1


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
