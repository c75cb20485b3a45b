"""Series and tables taken out of the rows that a run wrote.

A row is a mapping with a `step`; whatever else it holds differs from row to row, for
training and evaluation write to the same file. A run that was resumed may hold a step
twice: the later row is the one that the run went on from.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Row = Mapping[str, Any]


class Series(NamedTuple):
    """One quantity over the steps of a run.

    Attributes:
        step: int64 [N], rising.
        value: float64 [N]; what was not a number when written is NaN here.
    """

    step: np.ndarray
    value: np.ndarray


class LayerTable(NamedTuple):
    """One quantity of every layer at every step that was recorded.

    Attributes:
        names: parameter paths, in natural order.
        step: int64 [S], rising.
        value: float64 [L, S]; NaN where a row lacks the layer or the quantity.
    """

    names: tuple[str, ...]
    step: np.ndarray
    value: np.ndarray

    def take(self, rows: Iterable[int]) -> "LayerTable":
        """Return the table of some of its layers, given by their rows."""
        rows = list(rows)
        names = tuple(self.names[row] for row in rows)
        return LayerTable(names, self.step, self.value[rows])

    def adapted(self) -> np.ndarray:
        """Return the rows of the layers that are adapted: whose ratio is not always 1.

        A layer whose ratios are broken is one of them, for it is to be seen; where no
        layer has a positive ratio other than one there are none at all.
        """
        usable = np.isfinite(self.value) & (self.value > 0) & (self.value != 1)
        return np.flatnonzero((self.value != 1).any(axis=1) & usable.any())


def series(rows: Iterable[Row], name: str) -> Series:
    """Return one quantity of the rows that have it, by rising step.

    Args:
        rows: each with an integer `step`; of equal steps the last row counts.
        name: of the quantity, such as `train/loss`.

    Returns:
        The series, empty where no row has the quantity.

    >>> rows = [{"step": 2, "loss": 0.5}, {"step": 1, "loss": 2.0}, {"step": 3}]
    >>> series(rows, "loss").value.tolist()
    [2.0, 0.5]
    """
    found = {int(row["step"]): _float(row[name]) for row in rows if name in row}
    steps = sorted(found)
    values = [found[step] for step in steps]
    return Series(np.array(steps, np.int64), np.array(values, np.float64))


def band(points: Series, intervals: int = 240) -> tuple[np.ndarray, ...]:
    """Condense a series to what a figure can show, extremes included.

    A line through every tenth point would hide the spikes that one looks for, so each
    interval keeps its smallest and largest value beside the mean. Values that are not
    finite are left out.

    Args:
        points: N points.
        intervals: number of intervals, of equally many points; a series of no more
            finite points than that stays as it is, with low = mean = high.

    Returns:
        Mean step, least, mean and greatest value of each interval, float64 [M] each.

    >>> points = Series(np.arange(4), np.array([1.0, 3.0, 5.0, 9.0]))
    >>> step, low, mean, high = band(points, intervals=2)
    >>> mean.tolist(), high.tolist()
    ([2.0, 7.0], [3.0, 9.0])
    """
    finite = np.isfinite(points.value)
    step, value = points.step[finite].astype(np.float64), points.value[finite]
    if len(value) <= intervals:
        return step, value, value, value
    starts = np.arange(intervals) * len(value) // intervals
    counts = np.diff(starts, append=len(value))
    return (
        np.add.reduceat(step, starts) / counts,
        np.minimum.reduceat(value, starts),
        np.add.reduceat(value, starts) / counts,
        np.maximum.reduceat(value, starts),
    )


def layer_table(rows: Iterable[Row], field: str) -> LayerTable:
    """Return one quantity of all layers over all steps.

    Args:
        rows: each with a `step` and `layers`, a mapping from the parameter's path to
            its quantities.
        field: of the quantities, such as `weight_norm`.

    >>> rows = [{"step": 1, "layers": {"fc/bias": {"weight_norm": 2.0}}}]
    >>> layer_table(rows, "weight_norm").value
    array([[2.]])
    """
    by_step = {int(row["step"]): row["layers"] for row in rows}
    steps = sorted(by_step)
    every = {name for layers in by_step.values() for name in layers}
    names = tuple(sorted(every, key=natural_key))
    value = np.full((len(names), len(steps)), np.nan)
    for column, step in enumerate(steps):
        layers = by_step[step]
        for row, name in enumerate(names):
            value[row, column] = _float(layers.get(name, {}).get(field))
    return LayerTable(names, np.array(steps, np.int64), value)


def natural_key(name: str) -> str:
    """Return what sorts names in the order that people count in, 2 before 10.

    JAX sorts the keys of a dictionary as text, which puts the tenth block of a deep
    network before its second.

    >>> sorted(["block10/w", "block2/w", "block1/w"], key=natural_key)
    ['block1/w', 'block2/w', 'block10/w']
    """
    return re.sub("[0-9]+", lambda number: number[0].zfill(20), name)


def _float(value: Any) -> float:
    # JSON has no NaN: some writers put null in its place.
    return float("nan") if value is None else float(value)
