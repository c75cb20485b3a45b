"""The tables of faults."""

import statistics
from typing import Any

from benchmarks.common.records import read_record, record_path
from benchmarks.tables.markdown import plain, table

PARTS = ("kills", "signals", "damage", "disk", "peers")
COMMAND = "python -m benchmarks.faults.injection"
CELLS = {
    "fault": "{fault}",
    "times": "{count}",
    "exit statuses": "{ends}",
    "steps taken again, mean (most)": "{again}",
    "lost beyond the last save": "{beyond_save}",
    "runs ended": "{runs}",
    "bit-equal": "{bit_equal}",
}


def faults() -> str:
    """Return the table of faults, what they led to, and what they cost."""
    records = [read_record(f"faults_{part}") for part in PARTS]
    return _table(CELLS, records, COMMAND)


def shell() -> str:
    """Return the table of faults of every experiment that the shell runs."""
    names = [f"shell_{part}" for part in PARTS]
    records = [read_record(name) for name in names if record_path(name).exists()]
    cells = plain("experiment") | CELLS
    return _table(cells, records, f"{COMMAND} --part all")


def _table(cells: dict[str, str], records: list[Any], command: str) -> str:
    rows = [_told(row) for record in records for row in record["rows"]]
    order = "toy", "lars", "mgan"
    rows.sort(key=lambda row: order.index(row.get("experiment", "lars")))
    return table(cells, rows, records[0] | {"command": command})


def _told(row: dict[str, Any]) -> dict[str, Any]:
    lost = row["lost"] or [0]
    ends = ", ".join(f"{n} x {status}" for status, n in row["statuses"].items())
    return row | {"ends": ends, "again": f"{statistics.fmean(lost):.1f} ({max(lost)})"}
