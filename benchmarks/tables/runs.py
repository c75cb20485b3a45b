"""The tables of docs/runs.md."""

import statistics
from typing import Any

from benchmarks.common.markdown import grouped, plain, table, worst
from benchmarks.common.records import read_record, record_path

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


def step_memory() -> str:
    """Return the table of the micro-batches that fit a device."""
    record = read_record("step_memory")
    rows = [
        row
        | ({"microbatch": "refused"} if "refused" in row else {})
        | {"programs": len(row["compiled"]) if "compiled" in row else None}
        for row in record["rows"]
    ]
    cells = plain("network", "devices") | {
        "GiB each": "{memory}",
        "global batch": "{batch}",
        "micro-batch": "{microbatch}",
        "parts": "{microbatches}",
        "GiB needed": "{estimate:.1f GiB}",
        "compiled": "{programs}",
        "s": "{seconds:.0f}",
    }
    return table(cells, rows, record)


def accumulation() -> str:
    """Return the table of what a step in parts costs beside its micro-steps."""
    record = read_record("accumulation")
    cells = plain("network") | {
        "micro-batch": "{microbatch}",
        "parts": "{microbatches}",
        "step ms": "{step_seconds:.1f ms}",
        "over its micro-steps": "{ratio:.3f}",
        "lowest to highest": "{ratio:.3f range}",
        "n": "{ratio[n]}",
        "temporary MB": "{temporary_bytes:.2f M}",
    }
    return table(cells, record["rows"], record)


def state_sharding() -> str:
    """Return the table of what splitting the state saves, moves and changes."""
    record = read_record("state_sharding")
    errors = grouped(record["errors"], "state_sharding", "devices")
    rows = [
        row
        | {
            name.replace("-", "_"): f"{found['count']}, {found['bytes'] / 1e6:.1f}"
            for name, found in row["collectives"].items()
        }
        | {"worst": worst(errors[row["kind"], row["devices"]])}
        for row in record["rows"]
    ]
    none = {"all_reduce": "none", "all_gather": "none"}
    cells = {
        "devices": "{devices}",
        "state": "`{kind}`",
        "MB of state": "{state_bytes:.1f M}",
        "MB beside it": "{temporary_bytes:.0f M}",
        "all-reduce, MB": "{all_reduce}",
        "all-gather, MB": "{all_gather}",
        "largest error": "{worst}",
    }
    return table(cells, [none | row for row in rows], record)


def faults() -> str:
    """Return the table of faults, what they led to, and what they cost."""
    records = [read_record(f"faults_{part}") for part in PARTS]
    return _table(CELLS, records, COMMAND)


def shell_faults() -> str:
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
