"""Tables in Markdown, with where their numbers are from below them."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 88
"""Characters of a line outside of tables."""

UNBROKEN = "\N{NO-BREAK SPACE}"


def lines(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table.

    >>> print(lines(["n", "error"], [[1, "0.5"]]))
    | n | error |
    |---|---|
    | 1 | 0.5 |
    """
    every = ["| " + " | ".join(map(str, row)) + " |" for row in (head, *rows)]
    return "\n".join([every[0], "|---" * len(head) + "|", *every[1:]])


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    record: dict[str, Any],
    note: str = "",
) -> str:
    """Return a table, and below it a note and how to make its record again."""
    return "\n".join([lines(head, rows), "", origin(record, note)])


def origin(record: dict[str, Any], note: str = "") -> str:
    """Return the command, the machine and the versions that a record is from."""
    found = record["environment"]
    # A command is copied whole, and so must not be cut by the end of a line.
    command = record["command"].replace(" ", UNBROKEN)
    text = (
        f"{note}`{command}` on {record['machine']}; Python {found['python']}, jax "
        f"{found['jax']}, optax {found['optax']}, flax {found['flax']}."
    )
    filled = textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return filled.replace(UNBROKEN, " ")


def interval(summary: dict[str, Any], digits: int) -> str:
    """Return the lowest and the highest of what was measured.

    >>> interval({"lowest": 1.0, "highest": 2.0}, 1)
    '1.0 to 2.0'
    """
    return f"{summary['lowest']:.{digits}f} to {summary['highest']:.{digits}f}"


def with_interval(summary: dict[str, Any], digits: int = 2) -> str:
    """Return the median, and from where to where it is one."""
    return f"{summary['median']:.{digits}f} ({interval(summary, digits)})"


def milliseconds(summary: dict[str, Any]) -> str:
    """Return a median of seconds in milliseconds."""
    return f"{1000 * summary['median']:.1f}"
