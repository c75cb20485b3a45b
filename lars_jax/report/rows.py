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


class Band(NamedTuple):
    """A series cut into intervals: the mean of each, and what lay around it.

    Attributes:
        step: float64 [M], mean step of each interval.
        low: float64 [M], smallest value.
        mean: float64 [M].
        high: float64 [M], largest value.
    """

    step: np.ndarray
    low: np.ndarray
    mean: np.ndarray
    high: np.ndarray


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


def band(points: Series, intervals: int = 240) -> Band:
    """Condense a series to what a figure can show, extremes included.

    A line through every tenth point would hide the spikes that one looks for, so each
    interval keeps its smallest and largest value beside the mean. Values that are not
    finite are left out.

    Args:
        points: N points.
        intervals: number of intervals, of equally many points; a series of no more
            finite points than that stays as it is, with low = mean = high.

    >>> points = Series(np.arange(4), np.array([1.0, 3.0, 5.0, 9.0]))
    >>> condensed = band(points, intervals=2)
    >>> condensed.mean.tolist(), condensed.high.tolist()
    ([2.0, 7.0], [3.0, 9.0])
    """
    finite = np.isfinite(points.value)
    step, value = points.step[finite].astype(np.float64), points.value[finite]
    if len(value) <= intervals:
        return Band(step, value, value, value)
    starts = np.arange(intervals) * len(value) // intervals
    counts = np.diff(starts, append=len(value))
    return Band(
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
    names = natural_order({name for layers in by_step.values() for name in layers})
    value = np.full((len(names), len(steps)), np.nan)
    for column, step in enumerate(steps):
        layers = by_step[step]
        for row, name in enumerate(names):
            value[row, column] = _float(layers.get(name, {}).get(field))
    return LayerTable(names, np.array(steps, np.int64), value)


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in the order that people count in, 2 before 10.

    JAX sorts the keys of a dictionary as text, which puts the tenth block of a deep
    network before its second.

    >>> natural_order(["block10/w", "block2/w", "block1/w"])
    ('block1/w', 'block2/w', 'block10/w')
    """

    def parts(name: str) -> list[tuple[bool, int, str]]:
        pieces = re.findall(r"[0-9]+|[^0-9]+", name)
        return [
            (False, int(piece), "") if piece.isdecimal() else (True, 0, piece)
            for piece in pieces
        ]

    return tuple(sorted(names, key=parts))


def _float(value: Any) -> float:
    # JSON has no NaN: some writers put null in its place.
    return float("nan") if value is None else float(value)
