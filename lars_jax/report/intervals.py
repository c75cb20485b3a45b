"""Intervals of means over few seeds."""

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95


def half_interval(values: Sequence[float]) -> float:
    """Return how far the 95 % interval of a mean reaches to each side.

    t_{n-1} s / sqrt(n), t the 97.5 % quantile of Student's distribution and s the
    sample standard deviation.

    Args:
        values: one of each seed, taken to be drawn alike from a normal distribution.

    Returns:
        In the unit of the values; infinite for fewer than two.

    >>> print(f"{half_interval([1.0, 2.0, 3.0]):.3f}", half_interval([1.0]))
    2.484 inf
    """
    n = len(values)
    if n < 2:
        return math.inf
    # Nothing else of a report waits for it.
    from scipy import special

    t = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return t * statistics.stdev(values) / math.sqrt(n)
