"""Paths in a configuration: written down so that they lead there from anywhere.

A field says in its annotation where its text holds a path, `init_from: PathText | None
= None`, as it says its range.
"""

import dataclasses
import re
import typing
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from lars_jax.files import local_path
from lars_jax.train.config import options

C = TypeVar("C")


@dataclass(frozen=True)
class PathAfter:
    """Says of a text that a path follows this pattern, in texts that begin with it."""

    pattern: str = ""


PathText = Annotated[str, PathAfter()]
"""A path as text, for configurations that become JSON."""


DatasetName = Annotated[str, PathAfter("folder:")]
"""A data set, as `lars_jax.data.load_source` takes it."""


def absolute_paths(config: C) -> C:
    """Return a configuration whose paths are absolute, `~` their home directory.

    Args:
        config: a dataclass; fields that are dataclasses are looked into.

    Raises:
        InputError: one of them is a URL.

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     dataset: DatasetName = "digits"
    >>> absolute_paths(Config("folder:/data/../cats")), absolute_paths(Config())
    (Config(dataset='folder:/data/../cats'), Config(dataset='digits'))
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    whole: Any = config
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(whole):
        value: Any = getattr(whole, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = absolute_paths(value)
        elif isinstance(value, str):
            for option in options(hints[field.name]):
                value = _absolute(option, value)
            changes[field.name] = value
    return dataclasses.replace(whole, **changes)


def _absolute(hint: Any, text: str) -> str:
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, PathAfter) and (found := re.match(mark.pattern, text)):
            path = local_path(text[found.end() :]).absolute()
            text = f"{found[0]}{path}"
    return text
