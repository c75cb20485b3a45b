"""Paths in a configuration: written down so that they lead there from anywhere.

A field says in its annotation where its text holds a path, `init_from: PathText | None
= None`, as it says its range.
"""

import dataclasses
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from lars_jax.files import local_path
from lars_jax.train.config import options

C = TypeVar("C")


@dataclass(frozen=True)
class PathAfter:
    """Says of a text that a path follows this pattern, in texts that begin with it.

    Attributes:
        pattern: a regular expression.
        moves: whether what lies there are data, which are known by their digest and
            may be moved.
    """

    pattern: str = ""
    moves: bool = False


PathText = Annotated[str, PathAfter()]
"""A path as text, for configurations that become JSON."""

DataDirectory = Annotated[str, PathAfter(moves=True)]
"""The path of a directory of data sets."""

DatasetName = Annotated[str, PathAfter("folder:", moves=True)]
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

    def absolute(mark: PathAfter, path: str | None) -> Path | None:
        return None if path is None else local_path(path).absolute()

    return _changed(config, absolute)


def with_data_at(config: C, place: Path | str) -> C:
    """Return a configuration whose data lie elsewhere.

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     dataset: DatasetName = "folder:/scratch/1/cats"
    ...     data_dir: DataDirectory | None = None
    >>> with_data_at(Config(), "/scratch/2/cats")
    Config(dataset='folder:/scratch/2/cats', data_dir='/scratch/2/cats')
    """
    return _changed(config, lambda mark, path: place if mark.moves else path)


def _changed(config: C, change: Callable[[PathAfter, str | None], Any]) -> C:
    """Return a configuration with another path, from its mark and itself, for each."""
    hints = typing.get_type_hints(type(config), include_extras=True)
    whole: Any = config
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(whole):
        value: Any = getattr(whole, field.name)
        for mark in _marks(hints[field.name]):
            if start := re.match(mark.pattern, value or ""):
                path = change(mark, value and value[start.end() :])
                changes[field.name] = None if path is None else f"{start[0]}{path}"
        if dataclasses.is_dataclass(value):
            changes[field.name] = _changed(value, change)
    return dataclasses.replace(whole, **changes)


def _marks(hint: Any) -> list[PathAfter]:
    found = [mark for o in options(hint) for mark in getattr(o, "__metadata__", ())]
    return [mark for mark in found if isinstance(mark, PathAfter)]
