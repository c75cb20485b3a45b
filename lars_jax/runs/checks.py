"""Ranges of a configuration's fields, told by their types and checked in one place.

A field says in its annotation what it may hold, `steps: Positive | None = None`, with
the constraints of the package `annotated_types`. The command line ignores them, and
`check_ranges` refuses what breaks one, however the configuration was made.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import BaseMetadata, Ge, Gt, Interval, Le, Lt

from lars_jax.errors import InputError

Positive = Annotated[int, Gt(0)]
"""A whole number above 0."""
PositiveFloat = Annotated[float, Gt(0)]
"""A number above 0."""
NonNegative = Annotated[int, Ge(0)]
"""A whole number from 0 on."""
NonNegativeFloat = Annotated[float, Ge(0)]
"""A number from 0 on."""
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
"""A number in [0, 1), such as a momentum."""
Seed = Annotated[int, Interval(ge=0, lt=2**31)]
"""A seed: a whole number in [0, 2^31)."""


def check_ranges(config: Any) -> None:
    """Refuse a configuration one of whose fields is outside of its range.

    Args:
        config: a dataclass; fields that are dataclasses are looked into.

    Raises:
        InputError: the first field whose value its type does not allow, with the rule,
            the value and the flag.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     steps: Positive = 10
    >>> check_ranges(Config(steps=0))
    Traceback (most recent call last):
    lars_jax.errors.InputError: steps must be a whole number above 0; got 0: set \
--steps to such a value
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            check_ranges(value)
        elif not any(_allows(option, value) for option in _options(hint)):
            rule = " or ".join(_rule(option) for option in _options(hint))
            raise out_of_range(field.name, rule, value)


def out_of_range(name: str, rule: str, value: Any) -> InputError:
    """Return the error of a field whose value breaks a rule.

    >>> print(out_of_range("warmup_epochs", "below epochs", 9.0))
    warmup_epochs must be below epochs; got 9.0: set --warmup-epochs to such a value
    """
    flag = "--" + name.replace("_", "-")
    return InputError(f"{name} must be {rule}; got {value}: set {flag} to such a value")


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _allows(option: Any, value: Any) -> bool:
    if typing.get_origin(option) is Literal:
        return value in typing.get_args(option)
    kind, bounds = _split(option)
    if kind in (int, float):
        number = isinstance(value, int if kind is int else int | float)
        if not number or isinstance(value, bool) or not math.isfinite(value):
            return False
    elif kind is not Any and not isinstance(value, typing.get_origin(kind) or kind):
        return False
    return all(_holds(bound, value) for bound in bounds)


def _holds(bound: BaseMetadata, value: Any) -> bool:
    match bound:
        case Gt(gt=limit):
            return value > limit
        case Ge(ge=limit):
            return value >= limit
        case Lt(lt=limit):
            return value < limit
        case Le(le=limit):
            return value <= limit
    raise TypeError(f"a range must be given by bounds; got {bound}: use Gt, Ge, Lt, Le")


def _rule(option: Any) -> str:
    if option is type(None):
        return "left out"
    if typing.get_origin(option) is Literal:
        names = typing.get_args(option)
        return f"one of {', '.join(map(str, names))}" if names[1:] else str(names[0])
    kind, bounds = _split(option)
    names = {int: "a whole number", float: "a finite number", bool: "true or false"}
    words = [names.get(kind, "a text" if kind is str else str(kind))]
    for bound in bounds:
        for sign, word in _WORDS.items():
            if (limit := getattr(bound, sign, None)) is not None:
                words.append(f"{word} {limit:,}")
    return " ".join(words[:2]) + "".join(f" and {word}" for word in words[2:])


_WORDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def _split(option: Any) -> tuple[Any, list[BaseMetadata]]:
    """Return the type of an annotation, and its bounds one by one."""
    if typing.get_origin(option) is not Annotated:
        return option, []
    kind, *metadata = typing.get_args(option)
    return kind, list(_bounds(metadata))


def _bounds(metadata: list[Any]) -> Iterator[BaseMetadata]:
    for item in metadata:
        if isinstance(item, Interval):
            yield from item  # An interval is a group of its bounds.
        elif isinstance(item, BaseMetadata):
            yield item
