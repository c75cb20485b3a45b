"""Intervals of means over few seeds."""

import math
import statistics
from collections.abc import Sequence

from scipy import stats

CONFIDENCE = 0.95


def half_interval(values: Sequence[float]) -> float:
    """Return how far the 95 % interval of a mean reaches to each side, by Student's t.

    t_{n-1} s / sqrt(n); infinite for a single value.

    Args:
        values: one of each seed, taken to be drawn alike.

    >>> print(f"{half_interval([1.0, 2.0, 3.0]):.3f}", half_interval([1.0]))
    2.484 inf
    """
    n = len(values)
    if n < 2:
        return math.inf
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return t * statistics.stdev(values) / math.sqrt(n)
