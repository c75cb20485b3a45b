"""Anchors of the region proposal network (Ren et al. 2015, section 3.1.1)."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.errors import InputError


def anchors(
    height: int,
    width: int,
    *,
    stride: int = 16,
    scales: Sequence[float],
    ratios: Sequence[float],
) -> np.ndarray:
    """Return the anchors of each position of a feature map.

    w = s / sqrt(r), h = s sqrt(r), about ((x + 1/2) stride, (y + 1/2) stride)

    for scale s and ratio r, so that each area is s**2. The code of the paper,
    py-faster-rcnn, rounds sides at scale 16 before it multiplies: its 128 pixels at
    ratio 0.5 are 184 by 96, an area 8 % larger.

    Args:
        height: of the feature map.
        width: of the feature map.
        stride: pixels of the image between positions of the map.
        scales: square roots of areas, pixels.
        ratios: heights over widths.

    Returns:
        float32 [height * width * A, 4], by row, then column, then anchor; the A of a
        position by ratio, then scale.

    Raises:
        InputError: a size, scale or ratio that is not positive.

    Reference:
        Ren, He, Girshick, Sun: Faster R-CNN: Towards Real-Time Object Detection with
        Region Proposal Networks, 2015, https://arxiv.org/abs/1506.01497

    >>> print(anchors(1, 2, scales=[32.0], ratios=[1.0, 4.0]))
    [[ -8.  -8.  24.  24.]
     [  0. -24.  16.  40.]
     [  8.  -8.  40.  24.]
     [ 16. -24.  32.  40.]]
    """
    for name, values in (
        ("sizes", (height, width, stride)),
        ("scales", scales),
        ("ratios", ratios),
    ):
        if not len(values) or min(values) <= 0:
            raise InputError(
                f"{name} of anchors must be positive; got {tuple(values)}: correct them"
            )
    sides = [(s / math.sqrt(r), s * math.sqrt(r)) for r in ratios for s in scales]
    half = 0.5 * np.asarray(sides, np.float64)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    centre = stride * (np.stack([x, y], axis=-1).reshape(-1, 1, 2) + 0.5)
    found = np.concatenate([centre - half, centre + half], axis=-1)
    return found.reshape(-1, 4).astype(np.float32)


def inside(
    boxes: jax.Array | np.ndarray,
    height: jax.Array | float,
    width: jax.Array | float,
) -> jax.Array:
    """Return which anchors lie within an image: those that training uses.

    Args:
        boxes: [N, 4], pixels.
        height: of the image, without what pads it, pixels.
        width: of the image.

    Returns:
        bool [N].

    >>> print(inside(jnp.array([[0.0, 0, 8, 8], [-1, 0, 7, 8]]), 8, 8))
    [ True False]
    """
    low, high = jnp.asarray(boxes[:, :2]), jnp.asarray(boxes[:, 2:])
    within = (high[:, 0] <= width) & (high[:, 1] <= height)
    return within & jnp.all(low >= 0, axis=1)
