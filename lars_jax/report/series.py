"""Rows of a run turned into arrays that can be drawn; NumPy alone.

A run that was resumed may have logged a step twice: the later row counts. A value that
is absent, null or not a finite number becomes NaN, which is drawn as a gap.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Rows = Sequence[Mapping[str, Any]]


class Summary(NamedTuple):
    """A long series as a few points: step, and the least, mean and greatest value."""

    step: np.ndarray
    low: np.ndarray
    mean: np.ndarray
    high: np.ndarray


class LayerHistory(NamedTuple):
    """One number for every layer and step: `value` is float64 [L, S]."""

    name: tuple[str, ...]
    step: np.ndarray
    value: np.ndarray


def series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one metric over the steps of a run, in order of step.

    Args:
        rows: dictionaries with "step"; those without `name` are passed over.
        name: the metric.

    Returns:
        Steps int64 [S] and values float64 [S], NaN where the run logged no number.

    >>> rows = [{"step": 2, "loss": 0.5}, {"step": 1, "loss": 0.9}, {"step": 2}]
    >>> steps, values = series(rows, "loss")
    >>> print(steps, values)
    [1 2] [0.9 0.5]
    """
    found = {int(row["step"]): _number(row[name]) for row in rows if name in row}
    steps = sorted(found)
    values = np.array([found[step] for step in steps], np.float64)
    return np.array(steps, np.int64), values


def summarise(steps: np.ndarray, values: np.ndarray, *, most: int = 240) -> Summary:
    """Return a series in at most so many points, each the summary of its neighbours.

    A screen has a thousand columns and a run a million steps: drawn as they are, the
    noise of single batches hides the curve.

    Args:
        steps: int [S], ascending.
        values: float [S]; those that are not finite take no part.
        most: points to keep.

    Returns:
        Four float64 arrays [min(S, most)].

    >>> import numpy as np
    >>> short = summarise(np.arange(4), np.array([1.0, 3.0, 5.0, np.nan]), most=2)
    >>> print(short.step, short.low, short.mean, short.high)
    [0.5 2.5] [1. 5.] [2. 5.] [3. 5.]
    """
    points = [
        (np.mean(steps[part]), *_extent(values[part]))
        for part in parts(len(steps), most)
    ]
    return Summary(*np.array(points, np.float64).reshape(-1, 4).T)


def parts(size: int, most: int) -> list[np.ndarray]:
    """Return 0..size-1 cut into at most so many runs of nearly equal length.

    >>> [part.tolist() for part in parts(5, 2)]
    [[0, 1, 2], [3, 4]]
    """
    return np.array_split(np.arange(size), min(size, most)) if size else []


def first_not_finite(rows: Rows, name: str) -> int | None:
    """Return the first step at which a metric was not a finite number.

    >>> first_not_finite([{"step": 7, "loss": float("nan")}], "loss")
    7
    """
    steps, values = series(rows, name)
    bad = np.flatnonzero(~np.isfinite(values))
    return int(steps[bad[0]]) if bad.size else None


def layer_history(rows: Rows, field: str) -> LayerHistory:
    """Return one field of every layer over the steps of a run.

    Args:
        rows: dictionaries with "step" and "layers", the latter from a parameter's path
            to its numbers.
        field: "weight_norm", "gradient_norm" or "trust_ratio".

    Returns:
        Layers that ever have the field, in natural order; NaN where a step lacks it.

    >>> row = {"step": 1, "layers": {"fc6/bias": {"trust_ratio": 0.25}}}
    >>> history = layer_history([row], "trust_ratio")
    >>> print(history.name, history.step, history.value)
    ('fc6/bias',) [1] [[0.25]]
    """
    by_step = {int(row["step"]): row["layers"] for row in rows if "layers" in row}
    steps = sorted(by_step)
    found = {
        name
        for layers in by_step.values()
        for name, numbers in layers.items()
        if field in numbers
    }
    names = sorted(found, key=natural_key)
    value = np.full((len(names), len(steps)), np.nan)
    for column, step in enumerate(steps):
        layers = by_step[step]
        for row, name in enumerate(names):
            value[row, column] = _number(layers.get(name, {}).get(field))
    return LayerHistory(tuple(names), np.array(steps, np.int64), value)


def adapts(history: LayerHistory) -> bool:
    """Return whether trust ratios say anything: any of them differs from one.

    >>> import numpy as np
    >>> adapts(LayerHistory(("w",), np.array([1]), np.array([[1.0]])))
    False
    """
    finite = history.value[np.isfinite(history.value)]
    return bool(np.any(finite != 1.0))


def natural_key(name: str) -> list[str | int]:
    """Return a sorting key that puts block2 before block10.

    >>> sorted(["block10", "block2"], key=natural_key)
    ['block2', 'block10']
    """
    return [
        int(part) if place % 2 else part
        for place, part in enumerate(re.split(r"([0-9]+)", name))
    ]


def _number(value: Any) -> float:
    number = np.nan if value is None else float(value)
    return number if np.isfinite(number) else np.nan


def _extent(values: np.ndarray) -> tuple[float, float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.nan, np.nan, np.nan
    return float(finite.min()), float(finite.mean()), float(finite.max())
