"""Write the pages' tables from records and presets, or check that they are current.

python -m benchmarks.tables [--check]
"""

import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.tables import faults, lars, mesh, mgan, optimizer, results, throughput
from experiments.lars.presets import PRESETS as LARS
from experiments.mgan.presets import PRESETS as MGAN
from lars_jax.train.record import write_text

ROOT = Path(__file__).parents[2]

Tables = Mapping[str, Callable[[], str]]

PAGES: dict[str, Tables] = {
    "README.md": {"papers": results.papers, "results": results.results},
    "docs/performance.md": {
        "digits": lars.digits,
        "compare": lars.compared,
        "overheads": throughput.overheads,
        "optimizer_step": optimizer.step,
        "cifar10": throughput.cifar10,
    },
    "docs/errors.md": {
        "variants": optimizer.variants,
        "variant_cases_float32": partial(optimizer.variant_cases, "float32"),
        "variant_cases_float64": partial(optimizer.variant_cases, "float64"),
        "layer_errors": optimizer.layers,
        "mesh_errors": mesh.errors,
    },
    "docs/runs.md": {
        "step_memory": mesh.memory,
        "accumulation": throughput.accumulation,
        "state_sharding": mesh.state_sharding,
        "faults": faults.faults,
        "shell_faults": faults.shell,
    },
    "docs/scaling.md": {
        "weak_scaling": mesh.weak_scaling,
        "pod_bytes": mesh.pod_bytes,
        "pod_counts": mesh.pod_counts,
        "pod_steps": mesh.pod_steps,
        "pod_strategies": mesh.pod_strategies,
        "pod_assumptions": mesh.pod_assumptions,
    },
    "docs/mgan.md": {
        "mgan_ring": mgan.ring,
        "mgan_harder": mgan.harder,
        "mgan_images": mgan.images,
        "mgan_batch": mgan.batch,
        "mgan_batch_choice": mgan.batch_choice,
        "mgan_step": mgan.step,
    },
    "experiments/lars/README.md": {"presets": partial(lars.presets, LARS, linked=True)},
    "experiments/mgan/README.md": {
        "presets": partial(lars.presets, MGAN, linked=False)
    },
}
"""Tables of each page by the name between their marks."""


def fill(text: str, tables: Tables) -> str:
    """Return a text with every table between its marks made anew.

    >>> print(fill("<!-- table t -->old<!-- end t -->", {"t": lambda: "new"}))
    <!-- table t -->
    new
    <!-- end t -->
    """
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
    for name, tables in PAGES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        filled = fill(text, tables)
        if "--check" not in sys.argv[1:]:
            write_text(path, filled)
        elif filled != text:
            sys.exit(f"{name} is not what the records say: run benchmarks.tables")


if __name__ == "__main__":
    main()
