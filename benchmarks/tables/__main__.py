"""Write the pages' tables from records and presets, or check that they are current.

python -m benchmarks.tables [--check]
"""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

from benchmarks.common.markdown import columns, plain
from benchmarks.tables import (
    errors,
    large_batches,
    mgan,
    performance,
    results,
    runs,
    scaling,
    transfer,
    transitive,
)
from experiments.lars.presets import PRESETS as LARS
from experiments.mgan.presets import PRESETS as MGAN
from lars_jax.runs.presets import Preset
from lars_jax.train.record import write_text

ROOT = Path(__file__).parents[2]

Tables = Mapping[str, Callable[[], str]]


def tables_of(module: ModuleType) -> Tables:
    """Return the tables of a page, which its module's functions are named after."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }


def presets(every: Mapping[str, Preset], *, linked: bool) -> str:
    """Return the table of all presets of an experiment.

    Args:
        every: its presets.
        linked: whether what is expected leads to where it is published.
    """
    rows = []
    for preset in every.values():
        link = linked and preset.source.startswith("http")
        expected = f"[{preset.expected}]({preset.source})" if link else preset.expected
        rows.append({**vars(preset), "expected": expected})
    fields = plain("reproduces", "expected", "status", "note")
    return columns({"preset": "`{name}`"} | fields, rows)


PAGES: dict[str, Tables] = {
    "README.md": tables_of(results),
    "docs/performance.md": tables_of(performance),
    "docs/large_batches.md": tables_of(large_batches),
    "docs/errors.md": tables_of(errors),
    "docs/runs.md": tables_of(runs),
    "docs/scaling.md": tables_of(scaling),
    "docs/mgan.md": tables_of(mgan),
    "docs/transitive.md": tables_of(transitive),
    "docs/transfer.md": tables_of(transfer),
    "experiments/lars/README.md": {"presets": partial(presets, LARS, linked=True)},
    "experiments/mgan/README.md": {"presets": partial(presets, MGAN, linked=False)},
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
