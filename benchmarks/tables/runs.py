"""Tables of `docs/runs.md`: memory, micro-batches, split states, faults."""

import statistics
import textwrap
from typing import Any

from benchmarks.common.records import read_record


def step_memory() -> str:
    """Return the table of the micro-batches that fit a device."""
    record = read_record("step_memory")
    lines = [
        "| network | devices | GiB each | global batch | micro-batch | parts | "
        "GiB needed | compiled | s |",
        "|---" * 9 + "|",
    ]
    for row in record["rows"]:
        place = (
            f"| {row['network']} | {row['devices']} | {row['memory']} | "
            f"{row['batch']} | "
        )
        if "refused" in row:
            lines.append(place + "refused | | | | |")
            continue
        lines.append(
            place + f"{row['microbatch']} | {row['microbatches']} | "
            f"{row['estimate'] / 2**30:.1f} | {len(row['compiled'])} | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join([*lines, "", _origin(record)])


def accumulation() -> str:
    """Return the table of what a step in parts costs beside its micro-steps."""
    record = read_record("accumulation")
    lines = [
        "| network | micro-batch | parts | step ms | over its micro-steps | "
        "lowest to highest | n | temporary MB |",
        "|---" * 8 + "|",
    ]
    for row in record["rows"]:
        ratio, step = row["ratio"], row["step_seconds"]
        lines.append(
            f"| {row['network']} | {row['microbatch']} | {row['microbatches']} | "
            f"{1000 * step['median']:.1f} | {ratio['median']:.3f} | "
            f"{ratio['lowest']:.3f} to {ratio['highest']:.3f} | {ratio['n']} | "
            f"{row['temporary_bytes'] / 1e6:.2f} |"
        )
    return "\n".join([*lines, "", _origin(record)])


def state_sharding() -> str:
    """Return the table of what splitting the state saves, moves and changes."""
    record = read_record("state_sharding")
    errors: dict[tuple[str, int], list[float]] = {}
    for row in record["errors"]:
        place = row["state_sharding"], row["devices"]
        errors.setdefault(place, []).append(row["error"])
    lines = [
        "| devices | state | MB of state | MB beside it | all-reduce, MB | "
        "all-gather, MB | largest error |",
        "|---" * 7 + "|",
    ]
    for row in record["rows"]:
        moved = [
            f"{found['count']}, {found['bytes'] / 1e6:.1f}" if found else "none"
            for found in map(row["collectives"].get, ("all-reduce", "all-gather"))
        ]
        own = errors[row["kind"], row["devices"]]
        lines.append(
            f"| {row['devices']} | `{row['kind']}` | {row['state_bytes'] / 1e6:.1f} | "
            f"{row['temporary_bytes'] / 1e6:.0f} | {' | '.join(moved)} | "
            f"{max(own):.1e} ({len(own)}) |"
        )
    return "\n".join([*lines, "", _origin(record)])


def faults() -> str:
    """Return the table of faults, what they led to, and what they cost."""
    records = [read_record(f"faults_{part}") for part in FAULTS]
    lines = [
        "| fault | times | exit statuses | steps taken again, mean (most) | "
        "lost beyond the last save | runs ended | bit-equal |",
        "|---" * 7 + "|",
    ]
    lines += [_fault(row) for record in records for row in record["rows"]]
    return "\n".join([*lines, "", _origin(records[0] | {"command": COMMAND})])


FAULTS = ("kills", "signals", "damage", "disk", "peers")
COMMAND = "python -m benchmarks.faults.injection"


def _fault(row: dict[str, Any]) -> str:
    statuses = ", ".join(f"{n} x {status}" for status, n in row["statuses"].items())
    lost = row["lost"] or [0]
    return (
        f"| {row['fault']} | {row['count']} | {statuses} | "
        f"{statistics.fmean(lost):.1f} ({max(lost)}) | {row['beyond_save']} | "
        f"{row['runs']} | {row['bit_equal']} |"
    )


def _origin(record: dict[str, Any]) -> str:
    found = record["environment"]
    text = (
        f"`{record['command']}` on {record['machine']}; Python {found['python']}, "
        f"jax {found['jax']}, optax {found['optax']}, flax {found['flax']}."
    )
    return textwrap.fill(text, 88)


TABLES = {
    "step_memory": step_memory,
    "accumulation": accumulation,
    "state_sharding": state_sharding,
    "faults": faults,
}
