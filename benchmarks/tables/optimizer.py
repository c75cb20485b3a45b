"""Tables of a step of LARS: what it costs, and how exact it is."""

from typing import Any

from benchmarks.common.records import read_record
from benchmarks.tables.markdown import milliseconds, table, with_interval


def step() -> str:
    """Return the table of what a step of LARS costs beside other optimizers."""
    record = read_record("optimizer_step")
    rows = []
    for network, found in record["networks"].items():
        size = 4 * found["parameters"]
        for name, row in found["programs"].items():
            rows.append([network, name, *_costs(row, size)])
        for name, floor in found["floors"].items():
            time = f"{1000 * floor['seconds']:.1f}"
            empty = [""] * 3
            rows.append(
                [network, f"floor: {name}", time, *empty, f"{name[:2]}", "", ""]
            )
    telemetry = ", ".join(
        f"{found['telemetry']['median']:.3f} on {network}"
        for network, found in record["networks"].items()
    )
    head = ["network", "optimizer", "ms", "over optax.sgd", "over optax.lars"]
    head += ["compile s", "modelled bytes", "temporary MB", "kernels"]
    note = (
        f"Medians of n = {record['settings']['rounds']} alternating rounds. A step "
        f"with telemetry over one without: {telemetry}. "
    )
    return table(head, rows, record, note)


def variants() -> str:
    """Return the table of what separates each variant from its float64 oracle."""
    record = read_record("variant_errors")
    rows = []
    for name, cases in record["errors"].items():
        worst = max(cases, key=lambda case: cases[case]["float32"])
        wide = max(errors["float64"] for errors in cases.values())
        error = f"{cases[worst]['float32']:.1e}"
        rows.append([f"`{name}`", len(cases), error, worst, f"{wide:.1e}"])
    head = ["variant", "cases", "float32, largest error", "in case", "float64"]
    return table(head, rows, record)


def variant_cases(dtype: str) -> str:
    """Return the table of the errors of every variant in every case."""
    record = read_record("variant_errors")
    errors = record["errors"]
    rows = [
        [case, *(f"{cases[case][dtype]:.1e}" for cases in errors.values())]
        for case in next(iter(errors.values()))
    ]
    return table(["case", *errors], rows, record)


def layers() -> str:
    """Return the table of what sharding and stacking change."""
    record = read_record("layer_errors")
    rows = [
        [f"`{name}`", *(f"{error:.1e}" for error in found.values())]
        for name, found in record["errors"].items()
    ]
    return table(["variant", *next(iter(record["errors"].values()))], rows, record)


def _costs(row: dict[str, Any], size: int) -> list[str]:
    cells = [
        milliseconds(row["seconds"]),
        with_interval(row["over_sgd"]),
        f"{row['over_optax_lars']['median']:.2f}",
    ]
    if "kernels" not in row:
        return [*cells, "", "", "", ""]
    return [
        *cells,
        f"{row['compile_seconds']['median']:.2f}",
        f"{row['modelled_bytes'] / size:.1f}N",
        f"{row['temporary_bytes'] / 1e6:.1f}",
        f"{row['kernels']}",
    ]
