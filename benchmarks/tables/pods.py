"""Tables of what steps should cost on pods."""

from typing import Any

from benchmarks.common.records import read_record
from benchmarks.tables.markdown import table

NOT_RUN = "Estimate, not run. "


def exchanged() -> str:
    """Return the table of what a compiled step exchanges."""
    record = read_record("pod_estimate")
    rows = [
        [
            row["network"],
            row["backend"],
            "whole batch" if row["span"] is None else row["span"],
            row["microbatches"],
            f"{row['expected_bytes']:,}",
            f"{row['bytes']:,}",
            row["instructions"],
        ]
        for row in record["compiled"]
    ]
    head = ["network", "back-end", "span", "parts", "bytes by shapes"]
    head += ["bytes compiled", "all-reduces in the program"]
    devices = record["compiled"][0]["devices"]
    note = f"{devices} virtual devices of 8 examples a part. "
    return table(head, rows, record, note)


def counts() -> str:
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
    head = ["network", "preset", "parameters", "normalised channels"]
    head += ["products, an image", "half of XLA's FLOPs"]
    return table(head, rows, record)


def steps() -> str:
    """Return the table of estimated steps at every utilisation."""
    record = read_record("pod_estimate")
    times = ("compute", "optimizer", "exchange", "norm", "step")
    rows = [
        [
            *(row[name] for name in ("network", "machine", "span")),
            _percent(row["utilisation"]),
            *(f"{1000 * row['seconds'][name]:.2f}" for name in times),
            _percent(row["seconds"]["efficiency"]),
            _percent(row["seconds"]["efficiency_with_overlap"]),
            f"{row['images_per_host_second']:,.0f}",
        ]
        for row in record["estimates"]
    ]
    head = ["network", "machine", "span within", "utilisation"]
    head += [f"{name} ms" for name in times]
    head += ["efficiency", "with overlap", "images/s a host"]
    return table(head, rows, record, NOT_RUN)


def strategies() -> str:
    """Return the table of what ways to keep parameters would send."""
    record = read_record("pod_estimate")
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
    head = ["network", "machine", *record["strategies"][0]["ways"]]
    return table(head, rows, record, NOT_RUN)


def assumptions() -> str:
    """Return the table of every number that the estimates stand on."""
    record = read_record("pod_estimate")
    rows = [
        [group, name.replace("_", " "), f"{one['value']:.4g}", *_unit_and_source(one)]
        for group, found in record["assumptions"].items()
        for name, one in found.items()
    ]
    return table(["of", "what", "value", "unit", "source"], rows, record)


def _unit_and_source(one: dict[str, Any]) -> tuple[str, str]:
    source = one["source"]
    return one["unit"], f"**{source}**" if source.startswith("assumed") else source


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
