"""The words of a command: a preset, typed fields, and what is wrong in them."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lars_jax.errors import InputError
from lars_jax.files import local_path
from lars_jax.runs.checks import check_ranges

T = TypeVar("T")


def split_preset(
    words: Sequence[str], presets: Container[str], default: str
) -> tuple[str, list[str]]:
    """Split off the preset's name, which comes first if it comes at all.

    Args:
        words: what follows the verb.
        presets: the names that there are, to find one that comes last by mistake.
        default: the name where there is none.

    Returns:
        The name, known or not, and the other words.

    Raises:
        InputError: a preset's name comes last.

    >>> split_preset(["small", "--seed", "1"], {"small", "large"}, "large")
    ('small', ['--seed', '1'])
    """
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    value_of = words[-2] if len(words) > 1 else ""
    is_value = value_of.startswith("--") and "=" not in value_of
    if words and words[-1] in presets and not is_value:
        raise InputError(
            f"PRESET comes right after the verb; got {words[-1]} at the end: move it "
            "to the front"
        )
    return default, list(words)


def parse(
    kind: type[T], words: Sequence[str], *, prog: str, default: T | None = None
) -> T:
    """Return the typed arguments that words stand for.

    Args:
        kind: a dataclass; its docstring and those of its fields are the help.
        words: flags and values.
        prog: what comes before them on the command line, verb and all, for the help.
        default: values of the fields that no word sets.

    Raises:
        InputError: a word is unknown or has no such value, in one line.
        SystemExit: help was asked for, and printed.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Show:
    ...     '''Show something.'''
    ...     seed: int = 0
    >>> parse(Show, ["--seed", "3"], prog="python -m sums show")
    Show(seed=3)
    """
    # Who only reads or writes a run need not wait for it.
    import tyro

    for before, word in zip(["", *words], words, strict=False):
        if not word or word.startswith("--") and word.endswith("="):
            raise InputError(
                f"a value must not be empty; got none for {before or word.rstrip('=')}:"
                " leave it out, or look where it comes from"
            )
    extra: dict[str, Any] = {} if default is None else {"default": default}
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            found = tyro.cli(
                kind,
                config=(tyro.conf.OmitArgPrefixes,),
                args=words,
                prog=prog,
                description=kind.__doc__,
                **extra,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        line = _one_line(printed.getvalue())
        if "valid parse for arguments" in line or re.search(r"choice '[^']+,", line):
            line += "; values of one flag are separated by spaces"
        raise InputError(line) from None
    found = _with_local_paths(found)
    check_ranges(found)
    return found


def _with_local_paths(found: Any) -> Any:
    paths = {
        field.name: local_path(value)
        for field in dataclasses.fields(found)
        if isinstance(value := getattr(found, field.name), Path)
    }
    return dataclasses.replace(found, **paths)


def _one_line(box: str) -> str:
    """Return the words of a message that was drawn as a box with rules and a title."""
    rows = [row.strip(" │") for row in box.splitlines() if row[:1] not in "╭╰"]
    parts = re.split(r"\s+[─-]{5,}\s+", " ".join(rows))
    words = [" ".join(part.split()) for part in parts]
    line = "; ".join(part for part in words if not part.startswith("Argument helptext"))
    # Of several types that a value may have, each with its own reason.
    return re.sub(
        r"no type matching (\S+) could .* from (\[.*?\])\. Got.*?(?=;|$)",
        r"\2 is none of \1",
        line,
    )
