"""The tables of docs/large_batches.md."""

import math

from benchmarks.common.markdown import columns, grouped, origin
from benchmarks.common.records import read_record
from experiments.lars.config import Grid
from experiments.lars.summary import comparison_tables, score
from lars_jax.optim import rate_for_batch
from lars_jax.train.config import from_json


def compare() -> str:
    """Return the table of a comparison of optimizers over batch sizes."""
    return _comparison("digits")


def compare_fashion_mnist() -> str:
    """Return the table of the comparison on Fashion-MNIST, as far as it has come."""
    return _comparison("fashion_mnist")


def rates_by_rule() -> str:
    """Return what `rate_for_batch` gives beside the rates that tuning found best."""
    tried = grouped(
        [
            run
            for run in read_record("compare_fashion_mnist")["runs"]
            if run["phase"] == "tune" and run["optimizer"] in ("lars", "mlperf_scaled")
        ],
        "optimizer",
        "global_batch",
    )
    rows = []
    for (name, batch), runs in tried.items():
        rule = rate_for_batch(batch)
        best = max(runs, key=score)
        near = min(runs, key=lambda run: abs(math.log(run["rate"] / rule)))
        row = {"optimizer": name, "batch": batch, "rule": rule, "best": best["rate"]}
        row |= {"near": near["rate"], "times": best["rate"] / rule}
        row["lost"] = best["accuracy"] - near["accuracy"]
        rows.append(row)
    cells = {"optimizer": "{optimizer}", "batch": "{batch:,}", "rule": "{rule:.1f}"}
    cells |= {"best of those tried": "{best:.1f}", "times the rule": "{times:.1f}"}
    cells |= {"tried next to the rule": "{near:.1f}", "points lost": "{lost:.1f %}"}
    return columns(cells, rows)


def _comparison(preset: str) -> str:
    record = read_record(f"compare_{preset}")
    grid = from_json(Grid, record["grid"])
    return f"{comparison_tables(record['runs'], grid)}\n{origin(record)}"
