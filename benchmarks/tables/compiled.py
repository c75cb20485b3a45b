"""What the tables of compiled steps, on two pages, have in common."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.common.markdown import Row, table
from benchmarks.common.records import read_record

NAME = "compiled_steps"


def compiled_rows() -> list[dict[str, Any]]:
    """Return the rows of the record with their sums; of an error stands its text."""
    rows = []
    for row in read_record(NAME)["rows"]:
        found = row | {"target": f"`{row['topology']}`"}
        if "error" in row:
            rows.append(found | {"program": f"{row['program']}: {row['error']}"})
            continue
        rows.append(
            found
            | {
                "launched": sum(row["launches"].values()),
                "bytes": sum(row["traffic"].values()),
                "held": sum(row["memory"].values()),
                "least": max(row["bounds"].values()),
            }
        )
    return rows


def compiled_table(cells: Mapping[str, str], rows: Iterable[Row]) -> str:
    """Return a table with the compilers that its rows are from below it."""
    record = read_record(NAME)
    versions = record["compilers"]
    note = (
        f"libtpu {versions['libtpu']}, jax-cuda13-plugin "
        f"{versions['jax-cuda13-plugin']}, nvcc {versions['nvidia-cuda-nvcc']}. "
    )
    return table(cells, rows, record, note)
