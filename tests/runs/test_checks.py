"""A field says by its type what it may hold."""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pytest
from annotated_types import Interval, MultipleOf

from lars_jax import InputError
from lars_jax.runs import (
    BelowOne,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Seed,
    check_ranges,
)


@dataclass(frozen=True)
class Section:
    """Some fields of a section."""

    share: Annotated[float, Interval(gt=0, le=1)] = 0.5
    rule: Literal["lars", "sgd"] = "lars"


@dataclass(frozen=True)
class Config:
    """A field of every kind."""

    section: Section = Section()
    steps: Positive | None = None
    parts: Positive | Literal["auto"] = "auto"
    rate: NonNegativeFloat = 0.1
    scale: PositiveFloat = 1.0
    padding: NonNegative = 0
    momentum: BelowOne = 0.9
    seed: Seed = 0
    flip: bool = False
    name: str = "digits"
    file: str | None = None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps": 1, "parts": 4, "rate": 0, "padding": 0, "momentum": 0.0},
        {"seed": 2**31 - 1, "flip": True, "file": "w.npz"},
        {"section": Section(share=1.0, rule="sgd")},
    ],
)
def test_values_within_their_ranges_pass(changes):
    check_ranges(replace(Config(), **changes))


WHOLE, FINITE = "a whole number", "a finite number"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("steps", 0, f"{WHOLE} above 0 or left out"),
        ("steps", 1.5, f"{WHOLE} above 0 or left out"),
        ("steps", True, f"{WHOLE} above 0 or left out"),
        ("parts", -1, f"{WHOLE} above 0 or auto"),
        ("parts", "all", f"{WHOLE} above 0 or auto"),
        ("rate", -0.1, f"{FINITE} of at least 0"),
        ("rate", float("nan"), f"{FINITE} of at least 0"),
        ("rate", float("inf"), f"{FINITE} of at least 0"),
        ("rate", "0.1", f"{FINITE} of at least 0"),
        ("rate", None, f"{FINITE} of at least 0"),
        ("scale", 0.0, f"{FINITE} above 0"),
        ("padding", -1, f"{WHOLE} of at least 0"),
        ("momentum", 1.0, f"{FINITE} of at least 0 and below 1"),
        ("seed", 2**31, f"{WHOLE} of at least 0 and below 2,147,483,648"),
        ("flip", 1, "true or false"),
        ("name", 3, "a text"),
        ("file", 3, "a text or left out"),
    ],
)
def test_value_outside_of_its_range_is_refused(name, value, rule):
    with pytest.raises(InputError) as caught:
        check_ranges(replace(Config(), **{name: value}))
    assert str(caught.value) == (
        f"{name} must be {rule}; got {value}: set --{name} to such a value"
    )


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (Section(share=0.0), "share must be a finite number above 0 and of at most 1"),
        (Section(share=1.5), "share must be a finite number above 0 and of at most 1"),
        (Section(rule="adam"), "rule must be one of lars, sgd; got adam"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_sections_are_looked_into(section, line):
    with pytest.raises(InputError, match=re.escape(line)):
        check_ranges(Config(section=section))


def test_bound_that_is_not_known_is_a_defect():
    @dataclass(frozen=True)
    class Odd:
        steps: Annotated[int, MultipleOf(2)] = 2

    with pytest.raises(TypeError, match="bounds"):
        check_ranges(Odd())
