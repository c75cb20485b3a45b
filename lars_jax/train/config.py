"""Frozen dataclasses to JSON and back, and what differs between two of them."""

import contextlib
import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from lars_jax.errors import InputError

C = TypeVar("C")


def to_json(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dictionaries of JSON's own types.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     rate: float = 0.5
    >>> to_json(Config())
    {'rate': 0.5}
    """
    return dataclasses.asdict(config)


def options(hint: Any) -> tuple[Any, ...]:
    """Return the types that a type hint allows: those of a union, or itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def fits(kind: Any, value: Any) -> bool:
    """Return whether a value is of a type: a float may be whole, and is finite.

    >>> fits(float, 2), fits(int, 2.0), fits(int, True), fits(Literal["auto"], "auto")
    (True, False, False, True)
    """
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if kind in (int, float):
        number = isinstance(value, int if kind is int else int | float)
        return number and not isinstance(value, bool) and abs(value) < math.inf
    return kind is Any or isinstance(value, typing.get_origin(kind) or kind)


def describe(kind: Any) -> str:
    """Return a type as one would say it.

    >>> describe(int), describe(Literal["auto", "none"]), describe(type(None))
    ('a whole number', 'one of auto, none', 'left out')
    """
    if typing.get_origin(kind) is Literal:
        names = typing.get_args(kind)
        return f"one of {', '.join(map(str, names))}" if names[1:] else str(names[0])
    return _WORDS.get(kind) or getattr(kind, "__name__", str(kind))


_WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
    type(None): "left out",
}


def from_json(kind: type[C], data: Mapping[str, Any]) -> C:
    """Return the dataclass that `to_json` wrote.

    Args:
        kind: a dataclass whose fields are numbers, strings, bools, None, literals,
            tuples or dataclasses of these.
        data: what `to_json` returned, perhaps through a file.

    A field that is missing takes its default, which is what a run had that was written
    before there was such a field.

    Raises:
        InputError: a field is unknown or missing, or its value has another type.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     rate: float = 0.5
    >>> from_json(Config, {"rate": 2})
    Config(rate=2.0)
    """
    hints = typing.get_type_hints(kind)
    fields: Any = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    unknown = sorted(set(data) - {field.name for field in fields})
    missing = sorted(needed - set(data))
    if unknown or missing:
        raise InputError(
            f"a saved {kind.__name__} must have exactly its fields; unknown: "
            f"{unknown}, missing: {missing}: this was written by another experiment or "
            "version"
        )
    return kind(**{name: _convert(name, hints[name], data[name]) for name in data})


def replace_fields(config: C, **changes: Any) -> C:
    """Return a configuration with fields changed, wherever in its sections they live.

    Field names are unique over all sections, as on the command line.

    Args:
        config: a frozen dataclass whose sections are dataclasses.
        **changes: values by the names of fields.

    Raises:
        TypeError: a name that no section has.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Model:
    ...     depth: int = 20
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     model: Model = Model()
    ...     seed: int = 0
    >>> replace_fields(Config(), depth=8, seed=1)
    Config(model=Model(depth=8), seed=1)
    """
    whole: Any = config
    for field in dataclasses.fields(whole):
        section: Any = getattr(whole, field.name)
        if dataclasses.is_dataclass(section) and not isinstance(section, type):
            names = {item.name for item in dataclasses.fields(section)}
            own = {name: changes.pop(name) for name in names & changes.keys()}
            if own:
                changes[field.name] = dataclasses.replace(section, **own)
    return dataclasses.replace(whole, **changes)


def digest(data: Any) -> str:
    """Return twelve hexadecimal digits that name a configuration, or any JSON data.

    >>> from dataclasses import make_dataclass
    >>> digest(make_dataclass("Config", [("rate", float)])(0.5)), digest({"rate": 0.5})
    ('13399833b124', '13399833b124')
    """
    text = json.dumps(data, sort_keys=True, default=to_json)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, its keys joined by dots.

    >>> flatten({"model": {"depth": 20}, "seed": 0})
    {'model.depth': 20, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line for each setting that differs, `name: old -> new`.

    >>> difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['b.c: 2 -> 3']
    """
    old, new = flatten(old), flatten(new)
    absent = "(absent)"
    return [
        f"{name}: {old.get(name, absent)} -> {new.get(name, absent)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, absent) != new.get(name, absent)
    ]


def _convert(name: str, hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_json(hint, value)  # pyright: ignore[reportArgumentType]
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        kinds = typing.get_args(hint)
        if kinds[-1] is ...:
            kinds = kinds[:1] * len(value)
        if len(kinds) == len(value):
            pairs = zip(kinds, value, strict=True)
            return tuple(_convert(name, kind, part) for kind, part in pairs)
    kinds = options(hint)
    if not any(fits(kind, value) for kind in kinds):
        rule = " or ".join(map(describe, kinds))
        raise InputError(
            f"{name} must be {rule}; got {value!r}: correct the saved configuration or "
            "start a new run"
        )
    if float in kinds and int not in kinds and type(value) is int:
        with contextlib.suppress(OverflowError):
            return float(value)
    return value
