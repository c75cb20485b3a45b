"""Tables of what a step and all around it cost on one device."""

import statistics

from benchmarks.common.records import RECORDS, mean_sd, read_record
from benchmarks.tables.markdown import plain, table

OVERHEADS = {
    "loop_overhead": "`fit` over its compiled steps alone, digits",
    "import_time": "`import lars_jax` over `import jax, optax`",
}
"""What was divided by what, by the name of its record."""


def cifar10() -> str:
    """Return the table of training throughput beside PyTorch's."""
    paths = sorted(RECORDS.glob("cifar10_throughput_*.json"))
    records = [read_record(path.stem) for path in paths]
    cells = {
        "device": "{environment[device_kind]}",
        "network": "{network}",
        "batch": "{batch}",
        "images/s": "{images_per_second[lars_jax]:.0f}",
        "PyTorch's": "{images_per_second[torch]:.0f}",
        "ratio": "{ratio:.2f}",
        "lowest to highest": "{ratio:.2f range}",
        "n": "{ratio[n]}",
    }
    rows = [row for record in records for row in record["rows"].values()]
    return table(cells, rows, records[-1])


def overheads() -> str:
    """Return the table of what the package costs over what it depends on."""
    rows = []
    for name, text in OVERHEADS.items():
        ratios = read_record(name)["ratios"]
        mean, sd = mean_sd(ratios)
        found = {"median": statistics.median(ratios), "mean": mean, "sd": sd}
        rows.append(found | {"what": text, "n": len(ratios)})
    cells = {"what": "{what}", "ratio, median": "{median:.3f}"}
    cells |= {"mean": "{mean:.3f}", "sd": "{sd:.3f}", "n": "{n}"}
    return table(cells, rows, read_record("loop_overhead"))


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
