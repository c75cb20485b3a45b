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
Layers = dict[str, np.ndarray]


class Series(NamedTuple):
    """One quantity over the steps of a run.

    Attributes:
        step: int64 [N], rising.
        value: float64 [N]; what was not a number when written is NaN here.
    """

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


def band(points: Series) -> np.ndarray:
    """Condense a series to what a figure can show, extremes included.

    A line through every tenth point would hide the spikes that one looks for, so each
    of at most 240 intervals of equally many points keeps its smallest and largest value
    beside the mean. Values that are not finite are left out.

    Returns:
        Mean step, least, mean and greatest value of each interval, float64 [4, M].

    >>> step, low, mean, high = band(Series(np.arange(480), np.arange(480) % 2))
    >>> step[:2].tolist(), low[:2].tolist(), mean[:2].tolist(), high[:2].tolist()
    ([0.5, 2.5], [0.0, 0.0], [0.5, 0.5], [1.0, 1.0])
    """
    finite = np.isfinite(points.value)
    known = np.stack([points.step[finite], points.value[finite]])
    if not known.size:
        return np.zeros((4, 0))
    parts = np.array_split(known, min(240, known.shape[1]), axis=1)
    kept = [(step.mean(), y.min(), y.mean(), y.max()) for step, y in parts]
    return np.array(kept, np.float64).T


def layer_series(rows: Iterable[Row], field: str) -> tuple[np.ndarray, Layers]:
    """Return one quantity of all layers over all steps.

    Args:
        rows: each with a `step` and `layers`, a mapping from the parameter's path to
            its quantities.
        field: of the quantities, such as `weight_norm`.

    Returns:
        The S steps, rising, int64 [S], and by path, in natural order, the values of
        each layer, float64 [S]; NaN where a row lacks the layer or the quantity.

    >>> rows = [{"step": 1, "layers": {"fc/bias": {"weight_norm": 2.0}}}]
    >>> layer_series(rows, "weight_norm")
    (array([1]), {'fc/bias': array([2.])})
    """
    by_step = {int(row["step"]): row["layers"] for row in rows}
    steps = sorted(by_step)
    names = {name for layers in by_step.values() for name in layers}
    values = {
        name: [_float(by_step[step].get(name, {}).get(field)) for step in steps]
        for name in sorted(names, key=natural_key)
    }
    return np.array(steps, np.int64), {n: np.array(v) for n, v in values.items()}


def adapted(ratios: Layers) -> Layers:
    """Return the layers that are adapted: whose ratio is not always one.

    A layer whose ratios are broken is one of them, for it is to be seen; where no
    layer has a positive ratio other than one there are none at all.
    """
    usable = (np.isfinite(v) & (v > 0) & (v != 1) for v in ratios.values())
    if not any(layer.any() for layer in usable):
        return {}
    return {name: v for name, v in ratios.items() if (v != 1).any()}


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
