"""The tables of faults."""

import statistics
from typing import Any

from benchmarks.common.records import read_record, record_path
from benchmarks.tables.markdown import table

PARTS = ("kills", "signals", "damage", "disk", "peers")
COMMAND = "python -m benchmarks.faults.injection"
HEAD = [
    *("fault", "times", "exit statuses", "steps taken again, mean (most)"),
    *("lost beyond the last save", "runs ended", "bit-equal"),
]


def faults() -> str:
    """Return the table of faults, what they led to, and what they cost."""
    records = [read_record(f"faults_{part}") for part in PARTS]
    rows = [_row(row) for record in records for row in record["rows"]]
    return table(HEAD, rows, records[0] | {"command": COMMAND})


def shell() -> str:
    """Return the table of faults of every experiment that the shell runs."""
    names = [f"shell_{part}" for part in PARTS]
    records = [read_record(name) for name in names if record_path(name).exists()]
    rows = [row for record in records for row in record["rows"]]
    rows.sort(key=lambda row: ("toy", "lars", "mgan").index(row["experiment"]))
    cells = [[row["experiment"], *_row(row)] for row in rows]
    command = {"command": f"{COMMAND} --part all"}
    return table(["experiment", *HEAD], cells, records[0] | command)


def _row(row: dict[str, Any]) -> list[Any]:
    lost = row["lost"] or [0]
    return [
        row["fault"],
        row["count"],
        ", ".join(f"{n} x {status}" for status, n in row["statuses"].items()),
        f"{statistics.fmean(lost):.1f} ({max(lost)})",
        row["beyond_save"],
        row["runs"],
        row["bit_equal"],
    ]
