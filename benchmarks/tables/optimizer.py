"""Tables of a step of LARS: what it costs, and how exact it is."""

from benchmarks.common.records import read_record
from benchmarks.tables.markdown import plain, table


def step() -> str:
    """Return the table of what a step of LARS costs beside other optimizers."""
    record = read_record("optimizer_step")
    rows, telemetry = [], []
    for network, found in record["networks"].items():
        size = 4 * found["parameters"]
        for name, row in found["programs"].items():
            moved = row.get("modelled_bytes")
            passes = None if moved is None else f"{moved / size:.1f}N"
            rows.append(row | {"network": network, "optimizer": name, "passes": passes})
        for name, floor in found["floors"].items():
            rows.append(
                floor
                | {"network": network, "optimizer": f"floor: {name}"}
                | {"passes": name[:2]}
            )
        telemetry.append(f"{found['telemetry']['median']:.3f} on {network}")
    cells = plain("network", "optimizer") | {
        "ms": "{seconds:.1f ms}",
        "over optax.sgd": "{over_sgd:.2f all}",
        "over optax.lars": "{over_optax_lars:.2f}",
        "compile s": "{compile_seconds:.2f}",
        "modelled bytes": "{passes}",
        "temporary MB": "{temporary_bytes:.1f M}",
        "kernels": "{kernels}",
    }
    note = (
        f"Medians of n = {record['settings']['rounds']} alternating rounds. A step "
        f"with telemetry over one without: {', '.join(telemetry)}. "
    )
    return table(cells, rows, record, note)


def variants() -> str:
    """Return the table of what separates each variant from its float64 oracle."""
    record = read_record("variant_errors")
    rows = []
    for name, cases in record["errors"].items():
        worst = max(cases, key=lambda case: cases[case]["float32"])
        wide = max(errors["float64"] for errors in cases.values())
        found = {"variant": name, "cases": len(cases), "worst": worst, "wide": wide}
        rows.append(found | {"error": cases[worst]["float32"]})
    cells = {
        "variant": "`{variant}`",
        "cases": "{cases}",
        "float32, largest error": "{error:.1e}",
        "in case": "{worst}",
        "float64": "{wide:.1e}",
    }
    return table(cells, rows, record)


def variant_cases(dtype: str) -> str:
    """Return the table of the errors of every variant in every case."""
    record = read_record("variant_errors")
    errors = record["errors"]
    rows = [
        {"case": case, **{name: cases[case] for name, cases in errors.items()}}
        for case in next(iter(errors.values()))
    ]
    cells = {name: f"{{{name}[{dtype}]:.1e}}" for name in errors}
    return table(plain("case") | cells, rows, record)


def layers() -> str:
    """Return the table of what sharding and stacking change."""
    record = read_record("layer_errors")
    rows = [
        {"variant": variant, "errors": errors}
        for variant, errors in record["errors"].items()
    ]
    ways = {way: f"{{errors[{way}]:.1e}}" for way in rows[0]["errors"]}
    return table({"variant": "`{variant}`"} | ways, rows, record)
