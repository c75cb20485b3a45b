"""Angular errors of normals: the five numbers of Table 5, over all valid pixels.

Errors of all pixels of all images are pooled, as in Fouhey et al. (2013): an image
counts by its valid pixels.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.errors import InputError

BINS_PER_DEGREE = 100
"""Errors are counted in bins of 0.01 degrees: the median is right to 0.005 degrees."""

LIMITS = (11.25, 22.5, 30.0)
"""Degrees; each is a border of bins."""

NAMES = ("mean", "median", "below_11.25", "below_22.5", "below_30")
"""Names of the five numbers."""

_BINS = 180 * BINS_PER_DEGREE


@dataclass(frozen=True)
class Errors:
    """Errors of the pixels seen so far.

    Attributes:
        counts: int64 [18000], errors in each 0.01 degrees.
        total: sum of the errors in degrees.
        below: int64 [3], errors below each of `LIMITS`, which are exact.
    """

    counts: np.ndarray
    total: float
    below: np.ndarray


@jax.jit
def angular_error(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the angle between vectors in degrees, as exact near 0 and 180 as between.

    atan2(|a x b|, a . b)

    Args:
        a: float [..., 3], of any length.
        b: float [..., 3].

    Returns:
        float32 [...], from 0 to 180; 0 where a vector is zero.

    >>> down, level = jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 1e-4, 0.0])
    >>> print(angular_error(down, level).round(3), angular_error(down, -down))
    89.994 180.0
    """
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    across = jnp.linalg.norm(jnp.cross(a, b), axis=-1)
    return jnp.degrees(jnp.atan2(across, jnp.sum(a * b, axis=-1)))


def no_errors() -> Errors:
    """Return the errors of no pixel, to begin with.

    >>> int(no_errors().counts.sum())
    0
    """
    return Errors(np.zeros(_BINS, np.int64), 0.0, np.zeros(len(LIMITS), np.int64))


def add_errors(errors: Errors, degrees: np.ndarray, valid: np.ndarray) -> Errors:
    """Return errors with those of more pixels.

    Args:
        errors: so far.
        degrees: float [...], angular errors.
        valid: bool [...], pixels that count.

    Raises:
        InputError: other shapes, or an error that is no angle.

    >>> errors = add_errors(no_errors(), np.array([10.0, 20.0, 99.0]), np.arange(3) < 2)
    >>> errors.total, errors.below.tolist()
    (30.0, [1, 2, 2])
    """
    degrees, valid = np.asarray(degrees), np.asarray(valid)
    if degrees.shape != valid.shape or valid.dtype != bool:
        raise InputError(
            "errors have a mask of their shape, bool; got "
            f"{list(degrees.shape)} and {valid.dtype} {list(valid.shape)}: reshape them"
        )
    values = degrees[valid].astype(np.float64)
    if not ((values >= 0) & (values <= 180.001)).all():
        raise InputError(
            "errors are angles from 0 to 180 degrees; got others in valid pixels: look "
            "for normals that are not finite"
        )
    place = np.minimum((values * BINS_PER_DEGREE).astype(np.int64), _BINS - 1)
    return Errors(
        errors.counts + np.bincount(place, minlength=_BINS),
        errors.total + float(values.sum()),
        errors.below + np.array([(values < limit).sum() for limit in LIMITS]),
    )


def summary(errors: Errors) -> dict[str, float]:
    """Return the five numbers of Table 5.

    The median, of an even number the mean of the middle two, is that of the middles of
    bins; all else is exact.

    Args:
        errors: of one pixel at least.

    Returns:
        `mean` and `median` in degrees; `below_11.25`, `below_22.5` and `below_30` in
        percent.

    Raises:
        InputError: no pixel.

    >>> degrees = np.array([1.0, 2.0, 12.0, 29.0])
    >>> found = summary(add_errors(no_errors(), degrees, np.ones(4, bool)))
    >>> [round(value, 2) for value in found.values()]
    [11.0, 7.0, 50.0, 75.0, 100.0]
    """
    count = int(errors.counts.sum())
    if not count:
        raise InputError("a mean is of one valid pixel at least; got none: add images")
    ends = np.cumsum(errors.counts)
    middle = np.searchsorted(ends, [(count - 1) // 2, count // 2], side="right")
    median = float((middle + 0.5).mean() / BINS_PER_DEGREE)
    shares = (100 * errors.below / count).tolist()
    values = (errors.total / count, median, *shares)
    return dict(zip(NAMES, values, strict=True))
