"""Tables in Markdown, with where their numbers are from below them."""

import string
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.common.records import mean_sd

WIDTH = 88
"""Characters of a line outside of tables."""

UNBROKEN = "\N{NO-BREAK SPACE}"

UNITS = {"ms": 1e3, "%": 1e2, "M": 1e-6, "G": 1e-9, "GiB": 2.0**-30}
"""What a number is multiplied by to be in a unit."""

Row = Mapping[str, Any]


class Cells(string.Formatter):
    """`str.format` for what records hold; what a row lacks is left empty.

    A unit may follow the digits. A list becomes mean and deviation. Of a summary stands
    the median; `range` instead asks for the lowest and the highest, `all` for both.

    >>> cells, took = Cells(), {"median": 2.0, "lowest": 1.0, "highest": 4.0}
    >>> cells.format("{0:.0f ms}, {0:.1f range}, {0:.1f all}", took)
    '2000, 1.0 to 4.0, 2.0 (1.0 to 4.0)'
    >>> cells.format("{0:.1f}, {missing[at all]:.1f}", [7.0, 8.0])
    '7.5 ± 0.7, '
    >>> cells.format("{0:.0f %}", [0.5, 0.7])
    '60 ± 14'
    """

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        """Return the value of a field, None without it."""
        try:
            return super().get_field(field_name, args, kwargs)
        except KeyError:
            return None, field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return one value as the table shows it."""
        digits, _, form = format_spec.partition(" ")
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, Mapping):
            ends = [format(value[end], digits) for end in ("lowest", "highest")]
            if form == "range":
                return " to ".join(ends)
            if form == "all":
                return f"{value['median']:{digits}} ({' to '.join(ends)})"
            value = value["median"]
        if isinstance(value, list):
            mean, sd = mean_sd([UNITS.get(form, 1.0) * one for one in value])
            return f"{mean:{digits}}" + (f" ± {sd:{digits}}" if value[1:] else "")
        return format(UNITS[form] * value if form else value, digits)


def columns(cells: Mapping[str, str], rows: Iterable[Row]) -> str:
    """Return a table of rows, by the format of each column's `Cells` under its heading.

    >>> print(columns({"n": "{n}", "error": "{error:.1f}"}, [{"n": 1, "error": 0.5}]))
    | n | error |
    |---|---|
    | 1 | 0.5 |
    """
    head, cell_row = (" | ".join(texts) for texts in (cells, cells.values()))
    lines = [head, *(Cells().vformat(cell_row, (), row) for row in rows)]
    every = [f"| {line} |" for line in lines]
    return "\n".join([every[0], "|---" * len(cells) + "|", *every[1:]])


def table(
    cells: Mapping[str, str], rows: Iterable[Row], record: Row, note: str = ""
) -> str:
    """Return a table, and below it a note and how to make its record again."""
    return f"{columns(cells, rows)}\n\n{origin(record, note)}"


def origin(record: Row, note: str = "") -> str:
    """Return the command, the machine and the versions that a record is from.

    Where its runs are of several revisions these are named.

    >>> versions = {"python": "3", "jax": "1", "optax": "1", "flax": "1"}
    >>> record = {"command": "run", "machine": "2 cores", "environment": versions}
    >>> record["environment"]["device_kind"] = "NVIDIA H200"
    >>> print(origin(record))
    `run` on NVIDIA H200 beside 2 cores; Python 3, jax 1, optax 1, flax 1.
    """
    found = record["environment"]
    # A command is copied whole, and so must not be cut by the end of a line.
    command = record["command"].replace(" ", UNBROKEN)
    kind = found.get("device_kind", "cpu")
    card = "" if kind == "cpu" else f"{kind} beside "
    text = (
        f"{note}`{command}` on {card}{record['machine']}; Python {found['python']}, "
        f"jax {found['jax']}, optax {found['optax']}, flax {found['flax']}"
        f"{_revisions(record)}."
    )
    filled = textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return filled.replace(UNBROKEN, " ")


def _revisions(record: Row) -> str:
    """Return the revisions of the runs of a record, nothing if all are of one."""
    environments = [run.get("environment") or {} for run in record.get("runs", [])]
    named = dict.fromkeys(
        f"{found.get('git_revision') or 'unknown'} (jax {found.get('jax', 'unknown')})"
        for found in environments
    )
    return f"; runs of revisions {', '.join(named)}" if len(named) > 1 else ""


def plain(*names: str) -> dict[str, str]:
    """Return columns that show a field as it is, under its own name."""
    return {name.replace("_", " "): f"{{{name}}}" for name in names}


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return rows by the values of some fields, in the order of the first of each.

    >>> grouped([{"a": 1, "b": 2}, {"a": 1, "b": 3}], "a")
    {(1,): [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}]}
    """
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def worst(rows: Sequence[Row]) -> str:
    """Return the largest error of some rows, and how many they are.

    >>> worst([{"error": 1e-7}, {"error": 2e-7}])
    '2.0e-07 (2)'
    """
    return f"{max(row['error'] for row in rows):.1e} ({len(rows)})"
