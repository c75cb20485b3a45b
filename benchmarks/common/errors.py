"""How far two ways to take the same steps are apart."""

from typing import Any

import jax
import numpy as np


def largest_error(found: Any, expected: Any, start: Any) -> float:
    """Return the largest difference of any leaf, relative to how far it moved.

    >>> largest_error({"w": np.ones(2)}, {"w": np.full(2, 3.0)}, {"w": np.full(2, 2.0)})
    2.0
    """

    def error(found: Any, expected: Any, start: Any) -> float:
        a, b, before = (np.asarray(x, np.float64) for x in (found, expected, start))
        return float(np.abs(a - b).max() / np.abs(b - before).max())

    return max(jax.tree.leaves(jax.tree.map(error, found, expected, start)))
