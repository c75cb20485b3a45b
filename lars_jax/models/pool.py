"""Pooling by maxima, with a backward pass that does not scatter."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Pixels before the first and after the last row, and column."""

NO_PADDING: Padding = ((0, 0), (0, 0))


def max_pool(
    x: jax.Array, size: int, stride: int, padding: Padding = NO_PADDING
) -> jax.Array:
    """Take maxima over windows of size x size pixels, stride pixels apart.

    The gradient of a window goes to its maximum, to the first of equal ones.

    Args:
        x: [B, H, W, C], of a float dtype.
        size: height and width of a window.
        stride: pixels between windows.
        padding: pixels of no value around the image; a window that has none of the
            image gives minus infinity.

    Returns:
        [B, (H + padding - size) // stride + 1, likewise by W, C], as `flax.linen`'s,
        whose values and gradients these are. A NaN in a window is its maximum.

    >>> x = jnp.array([1.0, 5.0, 5.0, 2.0, 3.0]).reshape(1, 1, 5, 1)
    >>> print(max_pool(x, 3, 2, ((1, 1), (0, 0))).ravel())
    [5. 5.]
    >>> total = lambda x: max_pool(x, 3, 2, ((1, 1), (0, 0))).sum()
    >>> print(jax.grad(total)(x).ravel())
    [0. 1. 1. 0. 0.]
    """
    return _max_pool(x, size, stride, padding)


def cover_padding(x: jax.Array, size: int, stride: int) -> Padding:
    """Return padding with which windows cover every pixel; the last may hang over.

    Caffe rounds the number of windows up, so pixels at the far edge are never dropped:
    AlexNet has 6 x 6 pixels after its last pool for images of 224 pixels as of 227.

    >>> print(cover_padding(jnp.zeros((1, 6, 55, 1)), 3, 2))
    ((0, 1), (0, 0))
    """
    windows = [max(-(-(n - size) // stride), 0) + 1 for n in x.shape[1:3]]
    rows, columns = (
        max((count - 1) * stride + size - n, 0)
        for count, n in zip(windows, x.shape[1:3], strict=True)
    )
    return (0, rows), (0, columns)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, size: int, stride: int, padding: Padding) -> jax.Array:
    return _forward(x, size, stride, padding)[0]


def _forward(
    x: jax.Array, size: int, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def windowed(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = _reduce_window(x, size, stride, padding)
        return y, jnp.zeros(y.shape, jnp.uint8)

    # What a back-end's gradient does not read is not kept.
    y, place = jax.lax.platform_dependent(
        x,
        tpu=windowed,
        default=partial(_by_views, size=size, stride=stride, padding=padding),
    )
    return y, (x, place)


def _backward(
    size: int,
    stride: int,
    padding: Padding,
    kept: tuple[jax.Array, jax.Array],
    g: jax.Array,
) -> tuple[jax.Array]:
    x, place = kept

    def windowed(x: jax.Array, place: jax.Array, g: jax.Array) -> jax.Array:
        del place
        pool = partial(_reduce_window, size=size, stride=stride, padding=padding)
        return jax.vjp(pool, x)[1](g)[0]

    def by_views(x: jax.Array, place: jax.Array, g: jax.Array) -> jax.Array:
        return _to_maxima(x.shape, place, g, size, stride, padding)

    # What XLA derives is a loop on one thread on CPUs, 15 times as long as this for
    # windows of 2 x 2, and on GPUs a scatter. TPUs have an instruction for it.
    return (jax.lax.platform_dependent(x, place, g, tpu=windowed, default=by_views),)


_max_pool.defvjp(_forward, _backward)


def _reduce_window(x: jax.Array, size: int, stride: int, padding: Padding) -> jax.Array:
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        (1, size, size, 1),
        (1, stride, stride, 1),
        ((0, 0), *padding, (0, 0)),
    )


def _by_views(
    x: jax.Array, size: int, stride: int, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """Return maxima, and the number of each in its window, row by row: uint8."""
    wide = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    height, width = ((n - size) // stride * stride + 1 for n in wide.shape[1:3])
    y = wide[:, :height:stride, :width:stride]
    place = jnp.zeros(y.shape, jnp.uint8)
    for number in range(1, size * size):
        i, j = divmod(number, size)
        view = wide[:, i : i + height : stride, j : j + width : stride]
        place = jnp.where(view > y, jnp.uint8(number), place)
        # Unlike the comparison, it lets no NaN pass.
        y = jnp.maximum(y, view)
    return y, place


def _to_maxima(
    shape: tuple[int, ...],
    place: jax.Array,
    g: jax.Array,
    size: int,
    stride: int,
    padding: Padding,
) -> jax.Array:
    """Return the gradient by the images, of that by their maxima."""
    # A pixel may be the maximum of several windows.
    wide = np.promote_types(g.dtype, np.float32)
    zero = jnp.zeros((), wide)
    height, width = (n + sum(ends) for n, ends in zip(shape[1:3], padding, strict=True))
    total: Any = zero
    for number in range(size * size):
        i, j = divmod(number, size)
        part = jnp.where(place == number, g.astype(wide), zero)
        rows, columns = (
            (first, whole - first - (n - 1) * stride - 1, stride - 1)
            for first, whole, n in zip(
                (i, j), (height, width), g.shape[1:3], strict=True
            )
        )
        total += jax.lax.pad(part, zero, ((0, 0, 0), rows, columns, (0, 0, 0)))
    (top, _), (left, _) = padding
    inner = total[:, top : top + shape[1], left : left + shape[2]]
    return inner.astype(g.dtype)
