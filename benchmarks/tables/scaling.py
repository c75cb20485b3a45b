"""The tables of docs/scaling.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.common.markdown import Row, plain, table
from benchmarks.common.records import read_record
from benchmarks.tables.compiled import compiled_rows, compiled_table

A_FEW = 4
"""Devices up to which a step is told with those of one device."""


def weak_scaling() -> str:
    """Return the table of steps on virtual devices."""
    record = read_record("scaling")
    cells = plain("program", "devices", "global_batch") | {
        "ms": "{seconds:.1f ms}",
        "overhead": "{overhead:.2f all}",
        "ms of cores": "{core_seconds:.1f ms}",
        "overhead of cores": "{core_overhead:.2f all}",
        "load": "{load:.1f}",
    }
    settings = record["settings"]
    note = (
        f"`{settings['network']}`, {settings['examples']} examples a device, medians "
        f"(lowest to highest) of n = {settings['rounds']} alternating rounds. "
    )
    return table(cells, record["rows"], record, note)


def exchanged_bytes() -> str:
    """Return the table of what a compiled step exchanges."""
    record = read_record("exchanges")
    rows = [row | {"span": row["span"] or "whole batch"} for row in record["compiled"]]
    cells = {
        "network": "{network}",
        "back-end": "{backend}",
        "span": "{span}",
        "parts": "{microbatches}",
        "bytes by shapes": "{expected_bytes:,}",
        "bytes compiled": "{bytes:,}",
        "all-reduces in the program": "{instructions}",
    }
    note = f"{rows[0]['devices']} virtual devices of 8 examples a part. "
    return table(cells, rows, record, note)


def network_counts() -> str:
    """Return the table of what was counted in the networks."""
    record = read_record("exchanges")
    rows = [
        own | {"network": network, "preset": record["presets"][network]}
        for network, own in record["counts"].items()
    ]
    cells = {
        "network": "{network}",
        "preset": "`{preset}`",
        "parameters": "{parameters:,}",
        "normalised channels": "{normalised_channels:,} in {normalisations}",
        "products, an image": "{products:.3f G}e9",
        "half of XLA's FLOPs": "{cost_analysis_products:.3f G}e9",
    }
    return table(cells, rows, record)


def compiled_steps() -> str:
    """Return the table of training steps by accelerators' own compilers."""
    rows = [row for row in _training_steps() if not _on_pod(row)]
    cells = plain("program", "target") | {
        "launches": "{launched:,}",
        "in conditionals": "{nested}",
        "MB moved": "{bytes:,.1f M}",
        "temporary MB": "{memory[temporaries]:,.1f M}",
        "GiB in all": "{held:.2f GiB}",
        "by shapes": "{by_shapes:.2f GiB}",
        "GFLOP": "{flops:,.0f G}",
        "exchanges": "{exchanges}",
        "at least ms": "{least:.3g ms}",
        "compile s": "{seconds:.0f}",
    }
    return compiled_table(cells, rows)


def compiled_pods() -> str:
    """Return the table of steps over many devices, by their own compilers."""
    rows = [row for row in _training_steps() if _on_pod(row)]
    cells = plain("program", "target", "devices") | {
        "GiB of each": "{held:.2f GiB}",
        "launches": "{launched:,}",
        "exchanges": "{exchanges}",
        "products ms": "{bounds[products]:.1f ms}",
        "memory ms": "{bounds[memory]:.1f ms}",
        "links ms": "{bounds[links]:.2f ms}",
        "compile s": "{seconds:.0f}",
    }
    return compiled_table(cells, rows)


def _training_steps() -> Iterator[dict[str, Any]]:
    """Yield rows of training steps, with what devices exchange in words."""
    for row in compiled_rows():
        if "parameter_bytes" not in row:
            found = map(_in_words, row.get("collectives", ()))
            yield row | {"exchanges": "; ".join(found)}


def _in_words(one: Mapping[str, Any]) -> str:
    size = f"{one['bytes'] / 1e6:,.1f} MB"
    beside = f", {one['overlapped']} overlapped" if one["overlapped"] else ""
    return f"{one['count']} {one['kind']} {one['dtype']}, {size}{beside}"


def _on_pod(row: Row) -> bool:
    return row.get("devices", 0) > A_FEW
