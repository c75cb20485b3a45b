"""Logarithmic scales, and where they are marked."""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TICKS = 8
"""Marks of an axis; of more powers of ten some are left out."""


def logarithmic_axis(axes: "Axes", value: np.ndarray) -> tuple[float, float]:
    """Fit the y axis to values on a logarithmic scale.

    Args:
        axes: whose y axis is set.
        value: of any shape, positive; NaN does not count, but one must be a number.

    Returns:
        The ends of the axis as powers of ten.

    >>> from lars_jax.report.style import new_axes
    >>> low, high = logarithmic_axis(new_axes(2.0, 1.0, "")[1], np.array([1.0, 100.0]))
    >>> round(low, 2), round(high, 2)
    (-0.08, 2.08)
    """
    low, high = np.log10(np.nanmin(value)), np.log10(np.nanmax(value))
    # Lines that are all at one height get a decade to lie in.
    margin = 0.04 * (high - low) if high - low > 1e-6 else 0.5
    low, high = float(low - margin), float(high + margin)
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    ticks = scale_ticks(low, high)
    ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
    axes.set_yticks([10.0**tick for tick in ticks], [*map(tick_label, ticks)])
    axes.minorticks_off()
    return low, high


def tick_label(tick: float) -> str:
    """Return the number at a mark of a scale of log10 values, to two digits.

    >>> tick_label(2.0), tick_label(-2.0)
    ('100', '0.01')
    """
    return f"{float(f'{10.0**tick:.2g}'):g}"


def scale_ticks(low: float, high: float) -> list[float]:
    """Return where to mark a scale of log10 values: powers of ten, or 1, 2, 5 of each.

    >>> scale_ticks(-4.5, -1.5)
    [-4.0, -3.0, -2.0]
    >>> [round(10**tick, 6) for tick in scale_ticks(-3.1, -2.0)]
    [0.001, 0.002, 0.005, 0.01]
    """
    digits = (1, 2, 5) if high - low < 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [power + math.log10(digit) for power in powers for digit in digits]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else [low, high]
