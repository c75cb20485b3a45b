"""Norms of many arrays at once, as one vector.

A network has hundreds of leaves, most of them small, and a kernel of its own for each
step of the arithmetic of each leaf is what an optimizer's compilation, and its launches
on an accelerator, are spent on. Here short vectors share one sum, and everything after
the sums is arithmetic of vectors.
"""

from collections.abc import Callable, Sequence

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.norms import DOWN, LOWEST_MEAN_SQUARE, UP, root

LONGEST_ROW = 2048
"""Vectors of up to this many entries are padded into the rows of one matrix."""


def norm_vector(arrays: Sequence[Callable[[], jax.Array]]) -> jax.Array:
    """Return the norms of arrays whose squares are summed in float32, as one vector.

    Args:
        arrays: functions that return arrays; called again within the second pass, for
            the reason that `norms` gives.

    Returns:
        float32 [N], right from 1e-30 to 1e30.

    >>> import jax.numpy as jnp
    >>> norm_vector([lambda: jnp.array([3.0, 4.0]), lambda: jnp.float32(2e25)])[0]
    Array(5., dtype=float32)
    """
    sizes = np.array([array().size for array in arrays])
    # Not small matrices: they may be sharded, and a row is whole.
    short = np.array([array().ndim < 2 for array in arrays]) & (sizes <= LONGEST_ROW)
    order = np.argsort(short, kind="stable")
    large = [arrays[i] for i in order if not short[i]]
    rows = _rows([arrays[i]() for i in order if short[i]])

    def sums(scale: jax.Array | None = None) -> jax.Array:
        factors = [None] * len(large) if scale is None else unstack(scale[: len(large)])
        parts = [_sum_of_squares(x(), c) for x, c in zip(large, factors, strict=True)]
        scaled = rows if scale is None else rows * scale[len(large) :, None]
        squares = jnp.sum(jnp.square(scaled), axis=1)
        return jnp.concatenate([*map(jnp.atleast_1d, parts), squares])

    totals = sums()
    lowest = (sizes[order] * LOWEST_MEAN_SQUARE).astype(np.float32)
    fine = jnp.isfinite(totals) & (totals >= lowest)
    scale = jnp.where(fine, 1.0, jnp.where(totals < 1, UP, DOWN))
    if isinstance(fine, jax.core.Tracer):
        totals = jax.lax.cond(jnp.all(fine), lambda: totals, lambda: sums(scale))
    elif not jnp.all(fine):
        # Outside of jit a conditional would be compiled anew at every call.
        totals = sums(scale)
    return (root(totals) / scale)[np.argsort(order)]


def unstack(vector: jax.Array) -> list[jax.Array]:
    """Return the entries of a vector as scalars.

    XLA's compiler for CPUs takes some 8 ms for each slice and a hundredth of that for
    the sum over a constant mask; accelerators fuse the slice into what uses it, and
    would launch a kernel for each sum.

    >>> [float(entry) for entry in unstack(jnp.array([3.0, 4.0]))]
    [3.0, 4.0]
    """

    def masked(vector: jax.Array) -> list[jax.Array]:
        masks = np.eye(vector.size, dtype=bool)
        return [
            jnp.sum(jnp.where(mask, vector, 0), dtype=vector.dtype) for mask in masks
        ]

    def sliced(vector: jax.Array) -> list[jax.Array]:
        return [
            jax.lax.index_in_dim(vector, i, keepdims=False) for i in range(vector.size)
        ]

    return jax.lax.platform_dependent(vector, cpu=masked, default=sliced)


def _rows(arrays: Sequence[jax.Array]) -> jax.Array:
    if not arrays:
        return jnp.zeros((0, 1), jnp.float32)
    length = max(1, *(array.size for array in arrays))
    flat = [jnp.ravel(_magnitude(array)) for array in arrays]
    return jnp.stack([jnp.pad(row, (0, length - row.size)) for row in flat])


def _sum_of_squares(x: jax.Array, scale: jax.Array | None) -> jax.Array:
    x = _magnitude(x)
    return jnp.sum(jnp.square(x if scale is None else x * scale))


def _magnitude(x: jax.Array) -> jax.Array:
    return (jnp.abs(x) if jnp.iscomplexobj(x) else x).astype(jnp.float32)
