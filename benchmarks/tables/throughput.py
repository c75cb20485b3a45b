"""Tables of what a step and all around it cost on one device."""

import statistics

from benchmarks.common.records import RECORDS, mean_sd, read_record
from benchmarks.tables.markdown import interval, milliseconds, table

OVERHEADS = {
    "loop_overhead": "`fit` over its compiled steps alone, digits",
    "import_time": "`import lars_jax` over `import jax, optax`",
}
"""What was divided by what, by the name of its record."""


def cifar10() -> str:
    """Return the table of training throughput beside PyTorch's."""
    records = [
        read_record(path.stem)
        for path in sorted(RECORDS.glob("cifar10_throughput_*.json"))
    ]
    rows = []
    for record in records:
        for row in record["rows"].values():
            speed, ratio = row["images_per_second"], row["ratio"]
            rows.append(
                [
                    row["environment"]["device_kind"],
                    row["network"],
                    row["batch"],
                    *(f"{speed[name]['median']:.0f}" for name in ("lars_jax", "torch")),
                    f"{ratio['median']:.2f}",
                    interval(ratio, 2),
                    ratio["n"],
                ]
            )
    head = ["device", "network", "batch", "images/s", "PyTorch's", "ratio"]
    return table([*head, "lowest to highest", "n"], rows, records[-1])


def overheads() -> str:
    """Return the table of what the package costs over what it depends on."""
    rows = []
    for name, text in OVERHEADS.items():
        ratios = read_record(name)["ratios"]
        numbers = statistics.median(ratios), *mean_sd(ratios)
        rows.append([text, *(f"{number:.3f}" for number in numbers), len(ratios)])
    head = ["what", "ratio, median", "mean", "sd", "n"]
    return table(head, rows, read_record("loop_overhead"))


def accumulation() -> str:
    """Return the table of what a step in parts costs beside its micro-steps."""
    record = read_record("accumulation")
    rows = [
        [
            row["network"],
            row["microbatch"],
            row["microbatches"],
            milliseconds(row["step_seconds"]),
            f"{row['ratio']['median']:.3f}",
            interval(row["ratio"], 3),
            row["ratio"]["n"],
            f"{row['temporary_bytes'] / 1e6:.2f}",
        ]
        for row in record["rows"]
    ]
    head = ["network", "micro-batch", "parts", "step ms", "over its micro-steps"]
    return table([*head, "lowest to highest", "n", "temporary MB"], rows, record)
