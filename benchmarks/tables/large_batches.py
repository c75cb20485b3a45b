"""The tables of docs/large_batches.md."""

from benchmarks.common.markdown import origin
from benchmarks.common.records import read_record
from experiments.lars.config import Grid
from experiments.lars.summary import comparison_tables


def compare() -> str:
    """Return the table of a comparison of optimizers over batch sizes."""
    return _comparison("digits")


def compare_fashion_mnist() -> str:
    """Return the table of the comparison on Fashion-MNIST, as far as it has come."""
    return _comparison("fashion_mnist")


def _comparison(preset: str) -> str:
    record = read_record(f"compare_{preset}")
    found = record["grid"]
    grid = Grid(tuple(found["optimizers"]), tuple(found["batches"]))
    return f"{comparison_tables(record['runs'], grid)}\n{origin(record)}"
