"""The tables of docs/scaling.md, made from records."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common.records import read_record


def weak_scaling() -> str:
    """Return the table of steps on virtual devices."""
    record = read_record("scaling")
    rows = [
        [
            row["program"],
            str(row["devices"]),
            str(row["global_batch"]),
            f"{1000 * row['seconds']['median']:.1f}",
            _spread(row["overhead"]),
            f"{1000 * row['core_seconds']['median']:.1f}",
            _spread(row["core_overhead"]),
            f"{row['load']:.1f}",
        ]
        for row in record["rows"]
    ]
    head = [
        "program",
        "devices",
        "global batch",
        "ms",
        "overhead",
        "ms of cores",
        "overhead of cores",
        "load",
    ]
    settings = record["settings"]
    note = (
        f"`{settings['network']}`, {settings['examples']} examples a device, medians "
        f"(lowest to highest) of n = {settings['rounds']} alternating rounds. "
    )
    return _table(head, rows, record, note)


def pod_bytes() -> str:
    """Return the table of what a compiled step exchanges."""
    record = read_record("pod_estimate")
    rows = [
        [
            row["network"],
            row["backend"],
            "whole batch" if row["span"] is None else str(row["span"]),
            str(row["microbatches"]),
            f"{row['expected_bytes']:,}",
            f"{row['bytes']:,}",
            str(row["instructions"]),
        ]
        for row in record["compiled"]
    ]
    head = [
        "network",
        "back-end",
        "span",
        "parts",
        "bytes by shapes",
        "bytes compiled",
        "all-reduces in the program",
    ]
    devices = record["compiled"][0]["devices"]
    note = f"{devices} virtual devices of 8 examples a part. "
    return _table(head, rows, record, note)


def pod_steps() -> str:
    """Return the table of estimated steps at every utilisation."""
    record = read_record("pod_estimate")
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in record["estimates"]:
        key = row["network"], row["machine"], row["span"]
        groups.setdefault(key, []).append(row)
    rows = []
    for key, own in groups.items():
        for row in own:
            found = row["seconds"]
            times = ("compute", "optimizer", "exchange", "norm", "step")
            rows.append(
                [
                    *key,
                    f"{100 * row['utilisation']:.1f} %",
                    *(f"{1000 * found[name]:.2f}" for name in times),
                    _percent(found["efficiency"]),
                    _percent(found["efficiency_with_overlap"]),
                    f"{row['images_per_host_second']:,.0f}",
                ]
            )
    head = [
        "network",
        "machine",
        "span within",
        "utilisation",
        "compute ms",
        "optimizer ms",
        "exchange ms",
        "norm ms",
        "step ms",
        "efficiency",
        "with overlap",
        "images/s a host",
    ]
    return _table(head, rows, record, "Estimate, not run. ")


def pod_strategies() -> str:
    """Return the table of what ways to keep parameters would send."""
    record = read_record("pod_estimate")
    names = list(record["strategies"][0]["ways"])
    rows = [
        [
            row["network"],
            row["machine"],
            *(
                f"{way['bytes_sent'] / 1e6:.1f} MB, {1000 * way['seconds']:.2f} ms"
                for way in row["ways"].values()
            ),
        ]
        for row in record["strategies"]
    ]
    head = ["network", "machine", *names]
    return _table(head, rows, record, "Estimate, not run. ")


def pod_assumptions() -> str:
    """Return the table of every number that the estimates stand on."""
    record = read_record("pod_estimate")
    rows = [
        [group, name.replace("_", " "), f"{one['value']:.4g}", *_unit_and_source(one)]
        for group, found in record["assumptions"].items()
        for name, one in found.items()
    ]
    head = ["of", "what", "value", "unit", "source"]
    return _table(head, rows, record)


def pod_counts() -> str:
    """Return the table of what was counted in the networks."""
    record = read_record("pod_estimate")
    rows = [
        [
            network,
            f"`{record['presets'][network]}`",
            f"{own['parameters']:,}",
            f"{own['normalised_channels']:,} in {own['normalisations']}",
            f"{own['products'] / 1e9:.3f}e9",
            f"{own['cost_analysis_products'] / 1e9:.3f}e9",
        ]
        for network, own in record["counts"].items()
    ]
    head = [
        "network",
        "preset",
        "parameters",
        "normalised channels",
        "products, an image",
        "half of XLA's FLOPs",
    ]
    return _table(head, rows, record)


TABLES: dict[str, Callable[[], str]] = {
    "weak_scaling": weak_scaling,
    "pod_bytes": pod_bytes,
    "pod_counts": pod_counts,
    "pod_steps": pod_steps,
    "pod_strategies": pod_strategies,
    "pod_assumptions": pod_assumptions,
}
"""Tables of docs/scaling.md by the name between their marks."""


def _unit_and_source(one: dict[str, Any]) -> tuple[str, str]:
    source = one["source"]
    return one["unit"], f"**{source}**" if source.startswith("assumed") else source


def _spread(summary: dict[str, Any]) -> str:
    return (
        f"{summary['median']:.2f} ({summary['lowest']:.2f} to {summary['highest']:.2f})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    record: dict[str, Any],
    note: str = "",
) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    lines.insert(1, "|---" * len(head) + "|")
    found = record["environment"]
    origin = (
        f"{note}`{record['command']}` on {record['machine']}; Python "
        f"{found['python']}, jax {found['jax']}, optax {found['optax']}, flax "
        f"{found['flax']}."
    )
    return "\n".join([*lines, "", textwrap.fill(origin, 88)])
