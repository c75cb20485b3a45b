"""Write the pages' tables from records and presets, or check that they are current.

python -m benchmarks.tables [--check]
"""

import re
import statistics
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common.records import RECORDS, mean_sd, read_record
from benchmarks.tables import mgan as mgan_tables
from benchmarks.tables import runs as run_tables
from benchmarks.tables import scaling as scaling_tables
from experiments.lars.presets import PRESETS
from lars_jax.train.record import write_text

ROOT = Path(__file__).parents[2]


def digits() -> str:
    """Return the table of the digits presets."""
    record = read_record("digits")
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in record["runs"]:
        runs.setdefault(run["preset"], []).append(run)
    lines = [
        "| preset | optimizer | global batch | steps | accuracy % | sd | n | wall s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, own in runs.items():
        mean, sd = mean_sd([run["accuracy"] for run in own])
        seconds, _ = mean_sd([run["wall_seconds"] for run in own])
        config = own[0]["config"]
        lines.append(
            f"| `{name}` | {config['optimizer']['optimizer']} | "
            f"{config['global_batch']} | {own[0]['steps']} | {100 * mean:.2f} | "
            f"{100 * sd:.2f} | {len(own)} | {seconds:.0f} |"
        )
    return "\n".join([*lines, "", _origin(record)])


def overheads() -> str:
    """Return the table of what the package costs over what it stands on."""
    lines = [
        "| what | ratio, median | mean | sd | n |",
        "|---|---|---|---|---|",
    ]
    names = {
        "loop_overhead": "`fit` over its compiled steps alone, digits",
        "import_time": "`import lars_jax` over `import jax, optax`",
    }
    for name, text in names.items():
        ratios = read_record(name)["ratios"]
        mean, sd = mean_sd(ratios)
        median = statistics.median(ratios)
        lines.append(
            f"| {text} | {median:.3f} | {mean:.3f} | {sd:.3f} | {len(ratios)} |"
        )
    return "\n".join([*lines, "", _origin(read_record("loop_overhead"))])


def cifar10() -> str:
    """Return the table of training throughput beside PyTorch's."""
    lines = [
        "| device | network | batch | images/s | PyTorch's | ratio | spread | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    origin = ""
    for path in sorted(RECORDS.glob("cifar10_throughput_*.json")):
        for row in read_record(path.stem).values():
            lines.append(_throughput_row(row))
            origin = _origin(
                {
                    "command": "python -m benchmarks.throughput.cifar10",
                    "machine": f"{row['machine']['processor']}, "
                    f"{row['machine']['cores']} cores",
                    "environment": row["environment"],
                }
            )
    return "\n".join([*lines, "", origin])


def compared() -> str:
    """Return the table of a comparison of optimizers over batch sizes."""
    record = read_record("compare_digits")
    return record["table"] + "\n" + _origin(record)


def variants() -> str:
    """Return the table of what separates each variant from its float64 oracle."""
    record = read_record("variant_errors")
    lines = [
        "| variant | cases | float32, largest error | in case | float64 |",
        "|---|---|---|---|---|",
    ]
    for name, cases in record["errors"].items():
        worst = max(cases, key=lambda case: cases[case]["float32"])
        wide = max(errors["float64"] for errors in cases.values())
        lines.append(
            f"| `{name}` | {len(cases)} | {cases[worst]['float32']:.1e} | {worst} | "
            f"{wide:.1e} |"
        )
    return "\n".join([*lines, "", _origin(record)])


def variant_cases(dtype: str) -> str:
    """Return the table of the errors of every variant in every case."""
    record = read_record("variant_errors")
    names = list(record["errors"])
    cases = list(record["errors"][names[0]])
    rows = {
        case: [record["errors"][name][case][dtype] for name in names] for case in cases
    }
    return _errors("case", names, rows, record)


def layer_errors() -> str:
    """Return the table of what sharding and stacking change."""
    record = read_record("layer_errors")
    ways = list(next(iter(record["errors"].values())))
    rows = {
        f"`{name}`": list(found.values()) for name, found in record["errors"].items()
    }
    return _errors("variant", ways, rows, record)


def mesh_errors() -> str:
    """Return the table of what back-end, devices and micro-batches change."""
    record = read_record("mesh_errors")
    parts = sorted({row["microbatches"] for row in record["rows"]})
    groups: dict[str, dict[int, list[float]]] = {}
    for row in record["rows"]:
        # Records from before there were several processes do not name one.
        processes = row.get("processes", 1)
        place = f"{row['backend']}, {processes} x {row['devices'] // processes}"
        cells = groups.setdefault(place, {})
        cells.setdefault(row["microbatches"], []).append(row["error"])
    lines = [
        "| back-end, processes x devices | parts: "
        + " | ".join(map(str, parts))
        + " |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for name, cells in groups.items():
        worst = [
            f"{max(cells[n]):.1e} ({len(cells[n])})" if n in cells else "refused"
            for n in parts
        ]
        lines.append(f"| {name} | " + " | ".join(worst) + " |")
    return "\n".join([*lines, "", textwrap.fill(_origin(record), 88)])


def optimizer_step() -> str:
    """Return the table of what a step of LARS costs beside other optimizers."""
    record = read_record("optimizer_step")
    lines = [
        "| network | optimizer | ms | over optax.sgd | over optax.lars | compile s | "
        "modelled bytes | temporary MB | kernels |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for network, found in record["networks"].items():
        size = 4 * found["parameters"]
        for name, row in found["programs"].items():
            lines.append(f"| {network} | {name} | " + _step_row(row, size))
        for name, floor in found["floors"].items():
            lines.append(
                f"| {network} | floor: {name} | "
                f"{1000 * floor['seconds']:.1f} | | | | {name[:2]} | | |"
            )
    rounds = record["settings"]["rounds"]
    telemetry = ", ".join(
        f"{found['telemetry']['median']:.3f} on {network}"
        for network, found in record["networks"].items()
    )
    lines += [
        "",
        f"Medians of n = {rounds} alternating rounds. A step with telemetry over one "
        f"without: {telemetry}. " + _origin(record),
    ]
    return "\n".join(lines)


def presets() -> str:
    """Return the table of all presets."""
    lines = [
        "| preset | reproduces | expected | status | note |",
        "|---|---|---|---|---|",
    ]
    for name, preset in PRESETS.items():
        expected = preset.expected
        if preset.source.startswith("http"):
            expected = f"[{expected}]({preset.source})"
        lines.append(
            f"| `{name}` | {preset.reproduces} | {expected} | {preset.status} | "
            f"{preset.note} |"
        )
    return "\n".join(lines)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "digits": digits,
        "overheads": overheads,
        "cifar10": cifar10,
        "compare": compared,
        "variants": variants,
        "optimizer_step": optimizer_step,
        "mgan_ring": mgan_tables.ring,
    },
    "docs/errors.md": {
        "variant_cases_float32": partial(variant_cases, "float32"),
        "variant_cases_float64": partial(variant_cases, "float64"),
        "layer_errors": layer_errors,
        "mesh_errors": mesh_errors,
    },
    "docs/runs.md": run_tables.TABLES,
    "docs/scaling.md": scaling_tables.TABLES,
    "docs/mgan.md": mgan_tables.TABLES,
    "experiments/lars/README.md": {"presets": presets},
    "experiments/mgan/README.md": {"presets": mgan_tables.presets},
}


def fill(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """Return a text with every table between its marks made anew."""
    for name, table in tables.items():
        marks = f"<!-- table {name} -->", f"<!-- end {name} -->"
        pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
        body = f"{marks[0]}\n{table()}\n{marks[1]}"
        text, count = re.subn(pattern, lambda _, body=body: body, text, flags=re.S)
        if count != 1:
            raise SystemExit(f"a page must hold {marks[0]} once; found {count}")
    return text


def main() -> None:
    """Fill the tables in, or fail where `--check` finds them out of date."""
    for name, tables in TABLES.items():
        path = ROOT / name
        text = path.read_text()
        filled = fill(text, tables)
        if "--check" not in sys.argv[1:]:
            write_text(path, filled)
        elif filled != text:
            sys.exit(f"{name} is not what the records say: run benchmarks.tables")


def _errors(
    corner: str,
    columns: list[str],
    rows: dict[str, list[float]],
    record: dict[str, Any],
) -> str:
    lines = [
        f"| {corner} | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{error:.1e}" for error in errors) + " |"
        for name, errors in rows.items()
    ]
    return "\n".join([*lines, "", textwrap.fill(_origin(record), 88)])


def _throughput_row(row: dict[str, Any]) -> str:
    ours, theirs = (row["images_per_second"][name] for name in ("lars_jax", "torch"))
    ratio = row["ratio"]
    return (
        f"| {row['machine']['device_kind']} | {row['network']} | {row['batch']} | "
        f"{ours['median']:.0f} | {theirs['median']:.0f} | {ratio['median']:.2f} | "
        f"{ratio['lowest']:.2f} to {ratio['highest']:.2f} | {ratio['n']} |"
    )


def _step_row(row: dict[str, Any], size: int) -> str:
    over_sgd, over_optax = row["over_sgd"], row["over_optax_lars"]
    text = (
        f"{1000 * row['seconds']['median']:.1f} | {over_sgd['median']:.2f} "
        f"({over_sgd['lowest']:.2f} to {over_sgd['highest']:.2f}) | "
        f"{over_optax['median']:.2f} | "
    )
    if "kernels" not in row:
        return text + "| | | |"
    return text + (
        f"{row['compile_seconds']['median']:.2f} | "
        f"{row['modelled_bytes'] / size:.1f}N | "
        f"{row['temporary_bytes'] / 1e6:.1f} | {row['kernels']} |"
    )


def _origin(record: dict[str, Any]) -> str:
    found = record["environment"]
    return (
        f"`{record['command']}` on {record['machine']}; Python {found['python']}, "
        f"jax {found['jax']}, optax {found['optax']}, flax {found['flax']}."
    )


if __name__ == "__main__":
    main()
