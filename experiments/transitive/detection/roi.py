"""Features of regions: the pooling of Fast R-CNN and the alignment of Mask R-CNN.

Regions are boxes in continuous pixels of the image. Pooling rounds as the Caffe layer
of Fast R-CNN does, whose regions name their last pixel: that is x2 - 1 here. Where the
layer divides in float32, bins here are exact fractions: of 7 bins that is the same for
regions of up to 129 positions but for 57, 114 and 121, where the layer's last bin takes
in one position beyond the region.
"""

from functools import partial

import jax
import jax.numpy as jnp

from experiments.transitive.detection.maxima import rectangle_maxima
from lars_jax.errors import InputError

TOGETHER = 128
"""Regions aligned at a time, whose rows of bins [size, W, C] are held."""


def roi_pool(
    features: jax.Array, rois: jax.Array, scale: float, size: int
) -> jax.Array:
    """Return the maxima of the features over size by size bins of each region.

    The region spans the positions round(x1 scale) to round((x2 - 1) scale), both of
    them, and at least one; of its w columns bin p has floor(p w / size) to
    ceil((p + 1) w / size), the end excluded, as far as they are on the map; rows alike.
    Halves round away from zero. A bin without a position is 0. The gradient goes to the
    first of equal maxima, row by row; regions have none.

    Args:
        features: [H, W, C].
        rois: [R, 4], pixels of the image.
        scale: positions of the map a pixel, such as 1 / 16.
        size: bins a side, such as 7.

    Returns:
        [R, size, size, C].

    Raises:
        InputError: shapes that do not fit.

    Reference:
        Girshick: Fast R-CNN, 2015, section 2.1, https://arxiv.org/abs/1504.08083

    >>> features = jnp.arange(16.0).reshape(4, 4, 1)
    >>> rois = jnp.array([[0.0, 0.0, 48.0, 48.0]])  # To position 3: round(47 / 16).
    >>> pool = jax.jit(roi_pool, static_argnums=3)
    >>> print(pool(features, rois, 1 / 16, 2)[0, :, :, 0])
    [[ 5.  7.]
     [13. 15.]]
    """
    _check(features, rois, 3)
    height, width, _ = features.shape
    top, bottom = _bins(rois[:, 1], rois[:, 3], scale, size, height)
    left, right = _bins(rois[:, 0], rois[:, 2], scale, size, width)
    return rectangle_maxima(features, top, bottom, left, right)


def roi_align(
    features: jax.Array, rois: jax.Array, scale: float, size: int, samples: int = 2
) -> jax.Array:
    """Return the means of samples of the features in size by size bins of each region.

    Each bin has samples by samples points on a regular grid, whose features are
    bilinear between the centres of positions, (i + 1/2) / scale pixels: Detectron2's
    `aligned`. Up to a position beyond the map features are those of its edge; farther
    out they are 0. Regions have no gradient.

    Args:
        features: [H, W, C].
        rois: [R, 4], pixels of the image.
        scale: positions of the map a pixel, such as 1 / 16.
        size: bins a side, such as 7.
        samples: points a side of a bin.

    Returns:
        [R, size, size, C].

    Raises:
        InputError: shapes that do not fit.

    Reference:
        He, Gkioxari, Dollar, Girshick: Mask R-CNN, 2017, section 3,
        https://arxiv.org/abs/1703.06870

    A ramp, whose mean over a bin is its value in the centre of the bin:

    >>> features = jnp.tile(jnp.arange(4.0)[None, :, None], (4, 1, 1))
    >>> rois = jnp.array([[16.0, 16.0, 48.0, 48.0]])
    >>> align = jax.jit(roi_align, static_argnums=(3, 4))
    >>> print(align(features, rois, 1 / 16, 2)[0, :, :, 0])
    [[1. 2.]
     [1. 2.]]
    """
    _check(features, rois, 3)
    x1, y1, x2, y2 = (jax.lax.stop_gradient(rois)[:, i] * scale for i in range(4))
    height, width, _ = features.shape
    of_rows = _interpolation(y1, y2, size, samples, height).astype(features.dtype)
    of_columns = _interpolation(x1, x2, size, samples, width).astype(features.dtype)

    def mean(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        # The halves that accelerators take for products would move sampling points.
        exact = jax.lax.Precision.HIGHEST
        rows = jnp.einsum("ph,hwc->pwc", weights[0], features, precision=exact)
        return jnp.einsum("qw,pwc->pqc", weights[1], rows, precision=exact)

    return jax.lax.map(mean, (of_rows, of_columns), batch_size=TOGETHER)


def pool_batch(
    features: jax.Array, rois: jax.Array, scale: float, size: int
) -> jax.Array:
    """Return `roi_pool` of each image's regions.

    Args:
        features: [B, H, W, C].
        rois: [B, R, 4], pixels of each image.
        scale: as of `roi_pool`.
        size: as of `roi_pool`.

    Returns:
        [B, R, size, size, C].

    Raises:
        InputError: shapes that do not fit.

    >>> features = jnp.arange(32.0).reshape(2, 4, 4, 1)
    >>> rois = jnp.array([[[0.0, 0.0, 64.0, 64.0]]] * 2)
    >>> print(jax.jit(pool_batch, static_argnums=3)(features, rois, 1 / 16, 1).ravel())
    [15. 31.]
    """
    _check(features, rois, 4)
    # Not one image after another: spread over devices, each would take all of them.
    return jax.vmap(partial(roi_pool, scale=scale, size=size))(features, rois)


def align_batch(
    features: jax.Array, rois: jax.Array, scale: float, size: int, samples: int = 2
) -> jax.Array:
    """Return `roi_align` of each image's regions.

    Args:
        features: [B, H, W, C].
        rois: [B, R, 4], pixels of each image.
        scale: as of `roi_align`.
        size: as of `roi_align`.
        samples: as of `roi_align`.

    Returns:
        [B, R, size, size, C].

    Raises:
        InputError: shapes that do not fit.

    >>> features = jnp.stack([jnp.ones((4, 4, 1)), jnp.full((4, 4, 1), 3.0)])
    >>> rois = jnp.array([[[0.0, 0.0, 64.0, 64.0]]] * 2)
    >>> print(jax.jit(align_batch, static_argnums=3)(features, rois, 1 / 16, 1).ravel())
    [1. 3.]
    """
    _check(features, rois, 4)
    align = partial(roi_align, scale=scale, size=size, samples=samples)
    return jax.vmap(align)(features, rois)


def _bins(
    low: jax.Array, high: jax.Array, scale: float, size: int, limit: int
) -> tuple[jax.Array, jax.Array]:
    """Return the first positions of bins and those past their last, int32 [R, size]."""
    start, last = _round(low * scale), _round((high - 1.0) * scale)
    length = jnp.maximum(last - start + 1, 1)[:, None]
    bin_ = jnp.arange(size, dtype=jnp.int32)[None, :]
    first = start[:, None] + bin_ * length // size
    end = start[:, None] - (-(bin_ + 1) * length) // size
    return jnp.clip(first, 0, limit), jnp.clip(end, 0, limit)


def _round(x: jax.Array) -> jax.Array:
    """Return the nearest integers, halves away from zero as in C."""
    whole = jnp.trunc(x)
    away = jnp.where(jnp.abs(x - whole) >= 0.5, jnp.sign(x), 0.0)
    return (whole + away).astype(jnp.int32)


def _interpolation(
    low: jax.Array, high: jax.Array, size: int, samples: int, limit: int
) -> jax.Array:
    """Return the weights of positions in each bin, [R, size, limit]."""
    step = (jnp.arange(size * samples, dtype=low.dtype) + 0.5) / (size * samples)
    point = (low[:, None] + (high - low)[:, None] * step[None, :]) - 0.5
    on_map = (point >= -1.0) & (point <= limit)
    point = jnp.clip(point, 0.0, limit - 1.0)
    place = jnp.arange(limit, dtype=low.dtype)
    weight = jnp.maximum(1.0 - jnp.abs(point[:, :, None] - place[None, None, :]), 0.0)
    weight = jnp.where(on_map[:, :, None], weight, 0.0)
    return jnp.mean(weight.reshape(-1, size, samples, limit), axis=2)


def _check(features: jax.Array, rois: jax.Array, rank: int) -> None:
    fits = features.ndim == rank and rois.ndim == rank - 1 and rois.shape[-1] == 4
    if not fits or features.shape[: rank - 3] != rois.shape[: rank - 3]:
        batch = "B, " * (rank - 3)
        raise InputError(
            f"regions are pooled of features [{batch}H, W, C] at [{batch}R, 4]; got "
            f"{list(features.shape)} and {list(rois.shape)}: reshape them"
        )
