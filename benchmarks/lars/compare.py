"""Compare optimizers over batch sizes on digits, and record the table.

python -m benchmarks.lars.compare
"""

import shutil
from pathlib import Path

import tyro

from benchmarks.common.records import RECORDS, write_record
from experiments.lars.compare import compare
from experiments.lars.config import Grid
from experiments.lars.presets import get_preset
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json, read_lines

GRID = Grid(
    optimizers=("lars", "nesterov", "lamb"),
    batches=(64, 256, 1024),
    seeds=3,
    trials=5,
    tuning_holdout=300,
    rate_span=16.0,
)


def main(run_dir: Path) -> None:
    """Run the grid in a directory and write `records/compare_digits.json`.

    Args:
        run_dir: where the comparison's own files go.
    """
    config = replace_fields(get_preset("digits").config, devices=1, log_every=1000)
    table = compare(config, GRID, run_dir)
    print(table)
    runs = list(read_lines(run_dir / "results.jsonl"))
    settings = read_json(run_dir / "config.json")
    command = "python -m benchmarks.lars.compare --run-dir runs/compare-digits"
    kept = {name: settings[name] for name in ("grid", "config")}
    print(write_record("compare_digits", command, table=table, runs=runs, **kept))
    shutil.copy(run_dir / "accuracy.svg", RECORDS / "compare_digits.svg")


if __name__ == "__main__":
    tyro.cli(main)
