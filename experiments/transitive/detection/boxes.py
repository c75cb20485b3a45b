"""Geometry of boxes: areas, overlaps, and the targets that regression aims at.

A box is [x1, y1, x2, y2] in continuous pixel coordinates of its image, so that its
width is x2 - x1; the code of the R-CNN papers counts pixels and adds one. Rows that
only fill a batch are all zero: everything here stays finite on them, and so do
gradients.
"""

import math

import jax
import jax.numpy as jnp

LONGEST = math.log(1000 / 16)
"""Limit of dw and dh on decoding, as in Detectron: the smallest stride is 16 pixels and
the longest side 1000, so that no true box needs more; without it, the exponential of an
untrained network's output may overflow."""


def areas(boxes: jax.Array) -> jax.Array:
    """Return the areas of boxes; 0 where a side is not positive.

    Args:
        boxes: [..., 4], pixels.

    Returns:
        [...], square pixels.

    >>> print(areas(jnp.array([[1.0, 2.0, 4.0, 6.0], [3.0, 3.0, 1.0, 1.0]])))
    [12.  0.]
    """
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def overlaps(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the intersection over union of each box with each other one.

    IoU(a, b) = |a ∩ b| / (|a| + |b| - |a ∩ b|)

    Args:
        a: [..., N, 4], pixels.
        b: [..., M, 4].

    Returns:
        [..., N, M], in 0 .. 1; 0 where an area is 0.

    Two squares of side 2 that share a quarter, which is 1 of 7:

    >>> square = jnp.array([[0.0, 0.0, 2.0, 2.0]])
    >>> print(7 * jax.jit(overlaps)(square, square + 1.0))
    [[1.]]
    """
    a, b = a[..., :, None, :], b[..., None, :, :]
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    shared = areas(jnp.concatenate([low, high], axis=-1))
    union = areas(a) + areas(b) - shared
    meet = shared > 0
    # 0 / 0 of two empty boxes would have no gradient, even where it is not taken.
    return jnp.where(meet, shared / jnp.where(meet, union, 1.0), 0.0)


def encode(boxes: jax.Array, anchors: jax.Array) -> jax.Array:
    """Return what takes anchors to boxes: the targets of R-CNN's regression.

    dx = (x - xa) / wa, dy = (y - ya) / ha, dw = log(w / wa), dh = log(h / ha)

    with centres (x, y) and sides (w, h); equations 6 to 9 of R-CNN's appendix C.

    Args:
        boxes: [..., 4], pixels.
        anchors: [..., 4], proposals or anchors; of a shape that broadcasts with boxes.

    Returns:
        [..., 4], (dx, dy, dw, dh); 0 where a side of either is not positive.

    Reference:
        Girshick, Donahue, Darrell, Malik: Rich feature hierarchies for accurate object
        detection and semantic segmentation, 2014, https://arxiv.org/abs/1311.2524

    >>> anchor = jnp.array([0.0, 0.0, 10.0, 10.0])
    >>> print(jax.jit(encode)(jnp.array([5.0, 0.0, 15.0, 20.0]), anchor).round(3))
    [0.5   0.5   0.    0.693]
    """
    centre, size = _centre_and_size(boxes)
    from_centre, from_size = _centre_and_size(anchors)
    solid = jnp.all((size > 0) & (from_size > 0), axis=-1, keepdims=True)
    size, from_size = (jnp.where(solid, s, 1.0) for s in (size, from_size))
    shift = (centre - from_centre) / from_size
    deltas = jnp.concatenate([shift, jnp.log(size / from_size)], axis=-1)
    return jnp.where(solid, deltas, 0.0)


def decode(deltas: jax.Array, anchors: jax.Array) -> jax.Array:
    """Return the boxes that deltas take anchors to: the inverse of `encode`.

    x = wa dx + xa, y = ha dy + ya, w = wa exp(dw), h = ha exp(dh)

    Equations 1 to 4 of R-CNN's appendix C; dw and dh count up to `LONGEST`.

    Args:
        deltas: [..., 4], (dx, dy, dw, dh).
        anchors: [..., 4], pixels; of a shape that broadcasts with deltas.

    Returns:
        [..., 4], pixels; not clipped to the image.

    >>> anchor = jnp.array([0.0, 0.0, 10.0, 10.0])
    >>> print(jax.jit(decode)(jnp.array([0.5, 0.5, 0.0, 0.6931472]), anchor).round())
    [ 5.  0. 15. 20.]
    """
    from_centre, from_size = _centre_and_size(anchors)
    centre = from_centre + from_size * deltas[..., :2]
    half = 0.5 * from_size * jnp.exp(jnp.minimum(deltas[..., 2:], LONGEST))
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def clip(
    boxes: jax.Array, height: jax.Array | float, width: jax.Array | float
) -> jax.Array:
    """Return the parts of boxes within an image.

    Args:
        boxes: [..., 4], pixels.
        height: of the image, pixels; a number, or one for each box [...].
        width: as height.

    Returns:
        [..., 4]; without area where the box is outside.

    >>> print(clip(jnp.array([-3.0, 2.0, 9.0, 12.0]), 10.0, 8.0))
    [ 0.  2.  8. 10.]
    """
    x1, y1, x2, y2 = (boxes[..., i] for i in range(4))
    x1, x2 = (jnp.clip(x, 0.0, width) for x in (x1, x2))
    y1, y2 = (jnp.clip(y, 0.0, height) for y in (y1, y2))
    return jnp.stack([x1, y1, x2, y2], axis=-1)


def _centre_and_size(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return 0.5 * (low + high), high - low
