"""Ranges of a configuration's fields, told by their types and checked in one place.

A field says in its annotation what it may hold, `steps: Positive | None = None`, with
the constraints of the package `annotated_types`. The command line ignores them, and
`check_ranges` refuses what breaks one, however the configuration was made.
"""

import dataclasses
import operator
import typing
from collections.abc import Iterable
from typing import Annotated, Any

from annotated_types import BaseMetadata, Ge, Gt, Interval

from lars_jax.errors import InputError
from lars_jax.train.config import describe, fits, options

INT32 = 2**31
"""Where a device counts no further."""

Positive = Annotated[int, Interval(gt=0, lt=INT32)]
"""A whole number above 0 that a device can count to."""
PositiveFloat = Annotated[float, Gt(0)]
"""A number above 0."""
NonNegative = Annotated[int, Interval(ge=0, lt=INT32)]
"""A whole number from 0 on that a device can count to."""
NonNegativeFloat = Annotated[float, Ge(0)]
"""A number from 0 on."""
BoundedFloat = Annotated[float, Interval(gt=0, le=1e6)]
"""A number above 0 that may be multiplied by another: epochs, GiB, seconds."""
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
"""A number in [0, 1), such as a momentum."""
Seed = Annotated[int, Interval(ge=0, lt=INT32)]
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
        value, hint = getattr(config, field.name), _plain(hints[field.name])
        if dataclasses.is_dataclass(value):
            check_ranges(value)
        elif not any(_allows(option, value) for option in options(hint)):
            rule = " or ".join(_rule(option, value) for option in options(hint))
            raise out_of_range(field.name, rule, value)


def out_of_range(name: str, rule: str, value: Any) -> InputError:
    """Return the error of a field whose value breaks a rule.

    >>> print(out_of_range("warmup_epochs", "below epochs", 9.0))
    warmup_epochs must be below epochs; got 9.0: set --warmup-epochs to such a value
    """
    flag = "--" + name.replace("_", "-")
    return InputError(f"{name} must be {rule}; got {value}: set {flag} to such a value")


class IgnoredError(InputError):
    """A setting that nothing would look at, where another would be refused."""


def refuse_ignored(section: Any, names: Iterable[str], where: str) -> None:
    """Refuse settings that nothing would look at, as the last of all checks.

    A run that has begun with one goes on.

    Args:
        section: a dataclass of settings with defaults.
        names: of fields that are ignored.
        where: with what, as `with adam`.

    Raises:
        IgnoredError: the first of them that is not its default.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Rule:
    ...     momentum: float = 0.9
    >>> refuse_ignored(Rule(0.5), ["momentum"], "by Newton's method")
    Traceback (most recent call last):
    lars_jax.runs.checks.IgnoredError: momentum is ignored by Newton's method; got \
0.5: leave --momentum out
    """
    usual = type(section)()
    for name in names:
        value = getattr(section, name)
        if value != getattr(usual, name):
            flag = "--" + name.replace("_", "-")
            raise IgnoredError(
                f"{name} is ignored {where}; got {value}: leave {flag} out"
            )


def _plain(hint: Any) -> Any:
    """Return an annotation without what it says to the command line of a union."""
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return inner if len(options(inner)) > 1 else hint


_BOUNDS = {
    "gt": (operator.gt, "above"),
    "ge": (operator.ge, "of at least"),
    "lt": (operator.lt, "below"),
    "le": (operator.le, "of at most"),
}


def _allows(option: Any, value: Any) -> bool:
    kind, bounds = _split(option)
    return fits(kind, value) and all(
        _BOUNDS[sign][0](value, limit) for sign, limit in bounds
    )


def _rule(option: Any, value: Any) -> str:
    kind, bounds = _split(option)
    large = isinstance(value, int) and value >= INT32
    words = " and ".join(
        f"{_BOUNDS[sign][1]} {limit:,}"
        for sign, limit in bounds
        # Nobody asks how far one can count until it is not far enough.
        if limit != INT32 or large
    )
    return f"{describe(kind)} {words}".strip()


def _split(option: Any) -> tuple[Any, list[tuple[str, Any]]]:
    """Return the type of an annotation, and its bounds by their signs."""
    if typing.get_origin(option) is not Annotated:
        return option, []
    kind, *metadata = typing.get_args(option)
    found = []
    for item in metadata:
        limits = [(sign, getattr(item, sign, None)) for sign in _BOUNDS]
        limits = [(sign, limit) for sign, limit in limits if limit is not None]
        if isinstance(item, BaseMetadata) and not limits:
            raise TypeError(
                f"a range must be given by bounds; got {item}: use Gt, Ge, Lt, Le"
            )
        found.extend(limits)
    return kind, found
