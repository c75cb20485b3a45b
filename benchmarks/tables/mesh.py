"""Tables of meshes: exactness, memory, split states, weak scaling."""

from benchmarks.common.records import read_record
from benchmarks.tables.markdown import milliseconds, table, with_interval


def errors() -> str:
    """Return the table of what back-end, devices and micro-batches change."""
    record = read_record("mesh_errors")
    parts = sorted({row["microbatches"] for row in record["rows"]})
    groups: dict[str, dict[int, list[float]]] = {}
    for row in record["rows"]:
        processes = row["processes"]
        place = f"{row['backend']}, {processes} x {row['devices'] // processes}"
        cells = groups.setdefault(place, {})
        cells.setdefault(row["microbatches"], []).append(row["error"])
    rows = [
        [
            name,
            *(
                f"{max(cells[n]):.1e} ({len(cells[n])})" if n in cells else "refused"
                for n in parts
            ),
        ]
        for name, cells in groups.items()
    ]
    head = ["back-end, processes x devices", f"parts: {parts[0]}", *parts[1:]]
    return table(head, rows, record)


def memory() -> str:
    """Return the table of the micro-batches that fit a device."""
    record = read_record("step_memory")
    rows = []
    for row in record["rows"]:
        place = [row["network"], row["devices"], row["memory"], row["batch"]]
        if "refused" in row:
            rows.append([*place, "refused", "", "", "", ""])
            continue
        rows.append(
            [
                *place,
                row["microbatch"],
                row["microbatches"],
                f"{row['estimate'] / 2**30:.1f}",
                len(row["compiled"]),
                f"{row['seconds']:.0f}",
            ]
        )
    head = ["network", "devices", "GiB each", "global batch", "micro-batch", "parts"]
    return table([*head, "GiB needed", "compiled", "s"], rows, record)


def state_sharding() -> str:
    """Return the table of what splitting the state saves, moves and changes."""
    record = read_record("state_sharding")
    errors: dict[tuple[str, int], list[float]] = {}
    for row in record["errors"]:
        place = row["state_sharding"], row["devices"]
        errors.setdefault(place, []).append(row["error"])
    rows = []
    for row in record["rows"]:
        moved = [
            f"{found['count']}, {found['bytes'] / 1e6:.1f}" if found else "none"
            for found in map(row["collectives"].get, ("all-reduce", "all-gather"))
        ]
        own = errors[row["kind"], row["devices"]]
        rows.append(
            [
                row["devices"],
                f"`{row['kind']}`",
                f"{row['state_bytes'] / 1e6:.1f}",
                f"{row['temporary_bytes'] / 1e6:.0f}",
                *moved,
                f"{max(own):.1e} ({len(own)})",
            ]
        )
    head = ["devices", "state", "MB of state", "MB beside it", "all-reduce, MB"]
    return table([*head, "all-gather, MB", "largest error"], rows, record)


def weak_scaling() -> str:
    """Return the table of steps on virtual devices."""
    record = read_record("scaling")
    rows = [
        [
            row["program"],
            row["devices"],
            row["global_batch"],
            milliseconds(row["seconds"]),
            with_interval(row["overhead"]),
            milliseconds(row["core_seconds"]),
            with_interval(row["core_overhead"]),
            f"{row['load']:.1f}",
        ]
        for row in record["rows"]
    ]
    head = ["program", "devices", "global batch", "ms", "overhead", "ms of cores"]
    settings = record["settings"]
    note = (
        f"`{settings['network']}`, {settings['examples']} examples a device, medians "
        f"(lowest to highest) of n = {settings['rounds']} alternating rounds. "
    )
    return table([*head, "overhead of cores", "load"], rows, record, note)
