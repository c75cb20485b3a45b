"""The table of faults."""

import statistics
from typing import Any

from benchmarks.common.records import read_record
from benchmarks.tables.markdown import table

PARTS = ("kills", "signals", "damage", "disk", "peers")
COMMAND = "python -m benchmarks.faults.injection"


def faults() -> str:
    """Return the table of faults, what they led to, and what they cost."""
    records = [read_record(f"faults_{part}") for part in PARTS]
    head = ["fault", "times", "exit statuses", "steps taken again, mean (most)"]
    head += ["lost beyond the last save", "runs ended", "bit-equal"]
    rows = [_row(row) for record in records for row in record["rows"]]
    return table(head, rows, records[0] | {"command": COMMAND})


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
