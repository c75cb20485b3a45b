"""The tables of docs/scaling.md."""

from benchmarks.common.markdown import plain, table
from benchmarks.common.records import read_record
from benchmarks.tables.compiled import compiled_rows, compiled_table

NOT_RUN = "Estimate, not run. "


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


def pod_bytes() -> str:
    """Return the table of what a compiled step exchanges."""
    record = read_record("pod_estimate")
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


def pod_counts() -> str:
    """Return the table of what was counted in the networks."""
    record = read_record("pod_estimate")
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


def pod_steps() -> str:
    """Return the table of estimated steps at every utilisation."""
    record = read_record("pod_estimate")
    cells = plain("network", "machine") | {
        "span within": "{span}",
        "utilisation": "{utilisation:.1f %} %",
    }
    for name in ("compute", "optimizer", "exchange", "norm", "step"):
        cells[f"{name} ms"] = f"{{seconds[{name}]:.2f ms}}"
    cells |= {
        "efficiency": "{seconds[efficiency]:.1f %} %",
        "with overlap": "{seconds[efficiency_with_overlap]:.1f %} %",
        "images/s a host": "{images_per_host_second:,.0f}",
    }
    return table(cells, record["estimates"], record, NOT_RUN)


def pod_strategies() -> str:
    """Return the table of what ways to keep parameters would send."""
    record = read_record("pod_estimate")
    rows = record["strategies"]
    cells = plain("network", "machine")
    for way in rows[0]["ways"]:
        field = f"ways[{way}]"
        cells[way] = f"{{{field}[bytes_sent]:.1f M}} MB, {{{field}[seconds]:.2f ms}} ms"
    return table(cells, rows, record, NOT_RUN)


def pod_assumptions() -> str:
    """Return the table of every number that the estimates stand on."""
    record = read_record("pod_estimate")
    rows = []
    for of, found in record["assumptions"].items():
        for name, one in found.items():
            bold = "**" if one["source"].startswith("assumed") else ""
            source = f"{bold}{one['source']}{bold}"
            what = name.replace("_", " ")
            rows.append(one | {"of": of, "what": what, "source": source})
    cells = plain("of", "what") | {"value": "{value:.4g}"} | plain("unit", "source")
    return table(cells, rows, record)


def compiled_steps() -> str:
    """Return the table of training steps by accelerators' own compilers."""
    rows = [row for row in compiled_rows() if "parameter_bytes" not in row]
    for row in rows:
        row["exchanges"] = "; ".join(
            f"{one['count']} {one['kind']} {one['dtype']}, {one['bytes'] / 1e6:,.1f} MB"
            for one in row.get("collectives", ())
        )
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
