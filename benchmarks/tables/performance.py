"""The tables of docs/performance.md."""

import statistics

from benchmarks.common.markdown import grouped, plain, table
from benchmarks.common.records import RECORDS, mean_sd, read_record
from benchmarks.tables.compiled import compiled_rows, compiled_table
from benchmarks.throughput.resnet50 import FLOPS, OURS, PUBLISHED

OVERHEADS = {
    "loop_overhead": "`fit` over its compiled steps alone, digits",
    "import_time": "`import lars_jax` over `import jax, optax`",
}
"""What was divided by what, by the name of its record."""


def digits() -> str:
    """Return the table of the digits presets."""
    record = read_record("digits")
    rows = []
    for own in grouped(record["runs"], "preset").values():
        mean, sd = mean_sd([run["accuracy"] for run in own])
        seconds, _ = mean_sd([run["wall_seconds"] for run in own])
        found = {"mean": mean, "sd": sd, "n": len(own), "seconds": seconds}
        rows.append({**own[0], **found})
    cells = {
        "preset": "`{preset}`",
        "optimizer": "{config[optimizer][optimizer]}",
        "global batch": "{config[global_batch]}",
        "steps": "{steps}",
        "accuracy %": "{mean:.2f %}",
        "sd": "{sd:.2f %}",
        "n": "{n}",
        "wall s": "{seconds:.0f}",
    }
    return table(cells, rows, record)


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


def optimizer_step() -> str:
    """Return the table of what a step of LARS costs beside other optimizers."""
    return _optimizer_step("optimizer_step")


def optimizer_step_h200() -> str:
    """Return the same of a GPU."""
    return _optimizer_step("optimizer_step_nvidia-h200")


def compiled_optimizers() -> str:
    """Return the table of the same steps by accelerators' own compilers."""
    rows = [row for row in compiled_rows() if "parameter_bytes" in row]
    for row in rows:
        row["passes"] = row["bytes"] / row["parameter_bytes"]
    cells = plain("program", "target") | {
        "launches": "{launched:,}",
        "in conditionals": "{nested}",
        "bytes": "{passes:.2f}N",
        "temporary MB": "{memory[temporaries]:.1f M}",
        "at least ms": "{least:.2f ms}",
        "compile s": "{seconds:.0f}",
    }
    return compiled_table(cells, rows)


def _optimizer_step(name: str) -> str:
    record = read_record(name)
    digits = 1 if name == "optimizer_step" else 2
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
        if found["telemetry"]:
            telemetry.append(f"{found['telemetry']['median']:.3f} on {network}")
    cells = plain("network", "optimizer") | {
        "ms": f"{{seconds:.{digits}f ms}}",
        "over optax.sgd": "{over_sgd:.2f all}",
        "over optax.lars": "{over_optax_lars:.2f}",
        "compile s": "{compile_seconds:.2f}",
        "modelled bytes": "{passes}",
        "temporary MB": "{temporary_bytes:.1f M}",
        "kernels": "{kernels}",
    }
    note = f"Medians of n = {record['settings']['rounds']} alternating rounds. "
    if telemetry:
        note += f"A step with telemetry over one without: {', '.join(telemetry)}. "
    if inside := record["settings"].get("inside", 1) - 1:
        note += f"{inside + 1} steps of ours and Optax's a call. "
    return table(cells, rows, record, note)


def resnet50() -> str:
    """Return the table of ResNet-50's training throughput on accelerators."""
    rows, records = [], []
    for path in sorted(RECORDS.glob("resnet50_throughput_*.json")):
        records.append(read_record(path.stem))
        rows += [row | {"device": records[-1]["device"]} for row in records[-1]["runs"]]
    for row in rows:
        speed = row["images_per_second"][OURS]
        row |= {
            "tera": speed["median"] * FLOPS / 1e12,
            "share": speed["median"] / PUBLISHED,
        }
    cells = plain("device", "batch") | {
        "images/s": "{images_per_second[lars_jax]:.0f all}",
        "TFLOP/s": "{tera:.0f}",
        f"over {PUBLISHED:,}": "{share:.2f}",
        "compile s": "{lars_jax[compile_seconds]:.0f}",
        "temporary GB": "{lars_jax[temporary_bytes]:.1f G}",
        "n": "{images_per_second[lars_jax][n]}",
    }
    return table(cells, rows, records[-1])


def loader() -> str:
    """Return the table of photographs that a core reads a second."""
    record = read_record("loader")
    rows = [
        {
            "loader": name,
            "versions": record["versions"][name],
            "speed": speed,
            "ratio": record["ratios"].get(name),
        }
        for name, speed in record["images_per_second"].items()
    ]
    cells = plain("loader", "versions") | {
        "images/s of a core": "{speed:.0f all}",
        "ours over it": "{ratio:.2f all}",
    }
    rounds, count = record["together"]["n"], record["photographs"]
    note = f"Medians of {rounds} rounds of {count} photographs. "
    return table(cells, rows, record, note)


def allocator() -> str:
    """Return the table of steps whose memory is kept for the next."""
    record = read_record("allocator")
    cells = {
        "step": "`{preset}`, batch {batch:,}",
        "temporary MB": "{temporary_bytes:.0f M}",
        "ms": "{seconds:.1f ms}",
        "ms, kept": "{seconds_kept:.1f ms}",
        "ratio": "{ratio:.2f all}",
    }
    note = f"Medians of n = {record['runs'][0]['ratio']['n']} pairs of processes. "
    return table(cells, record["runs"], record, note)


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
