"""The tables of docs/errors.md."""

from benchmarks.common.markdown import grouped, plain, table, worst
from benchmarks.common.records import read_record


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


def variant_cases_float32() -> str:
    """Return the table of the errors of every variant in every case."""
    return _cases("float32")


def variant_cases_float64() -> str:
    """Return the same in float64."""
    return _cases("float64")


def layer_errors() -> str:
    """Return the table of what sharding and stacking change."""
    record = read_record("layer_errors")
    rows = [
        {"variant": variant, "errors": errors}
        for variant, errors in record["errors"].items()
    ]
    ways = {way: f"{{errors[{way}]:.1e}}" for way in rows[0]["errors"]}
    return table({"variant": "`{variant}`"} | ways, rows, record)


def mesh_errors() -> str:
    """Return the table of what back-end, devices and micro-batches change."""
    record = read_record("mesh_errors")
    parts = sorted({row["microbatches"] for row in record["rows"]})
    rows = []
    places = grouped(record["rows"], "backend", "processes", "devices")
    for (backend, processes, devices), own in places.items():
        name = f"{backend}, {processes} x {devices // processes}"
        found = {(n,): "refused" for n in parts}
        found |= {n: worst(some) for n, some in grouped(own, "microbatches").items()}
        rows.append({"place": name} | {f"parts {n}": found[n,] for n in parts})
    cells = {"back-end, processes x devices": "{place}"}
    heads = [f"parts: {parts[0]}", *map(str, parts[1:])]
    cells |= {head: f"{{parts {n}}}" for head, n in zip(heads, parts, strict=True)}
    return table(cells, rows, record)


def _cases(dtype: str) -> str:
    record = read_record("variant_errors")
    errors = record["errors"]
    rows = [
        {"case": case, **{name: cases[case] for name, cases in errors.items()}}
        for case in next(iter(errors.values()))
    ]
    cells = {name: f"{{{name}[{dtype}]:.1e}}" for name in errors}
    return table(plain("case") | cells, rows, record)
