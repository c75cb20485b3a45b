"""Norms of many arrays at once, as one vector.

A network has hundreds of leaves, most of them small, and a kernel of its own for each
step of the arithmetic of each leaf is what an optimizer's compilation, and its launches
on an accelerator, are spent on. Here short vectors of one length share a sum, and
everything after the sums is arithmetic of vectors.
"""

from collections.abc import Callable, Sequence

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.norms import DOWN, LOWEST_MEAN_SQUARE, UP, root

LONGEST_ROW = 2048
"""Vectors of up to this many entries share the sum of those of the same length."""

WIDTH = 16
"""Entries that `unstack` takes out of a vector at once on a CPU."""


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
    large, rows = _by_length(arrays)
    order = np.array([*large, *(i for row in rows for i in row)], int)
    ends = np.cumsum([len(large), *map(len, rows)])
    stacks = [_stack([arrays[i]() for i in row]) for row in rows]

    def sums(scale: jax.Array | None = None) -> jax.Array:
        if scale is None:
            factors, columns = [None] * len(large), [None] * len(rows)
        else:
            first, *columns = jnp.split(scale, ends[:-1])
            factors = unstack(first)
        parts = [
            jnp.atleast_1d(_sum_of_squares(arrays[i](), factor))
            for i, factor in zip(large, factors, strict=True)
        ]
        for stack, column in zip(stacks, columns, strict=True):
            scaled = stack if column is None else stack * column[:, None]
            parts.append(jnp.sum(jnp.square(scaled), axis=1))
        return jnp.concatenate(parts)

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

    XLA's compiler for CPUs takes some 8 ms for each slice, because no two kernels that
    hold one are the same, and a hundredth of that for a sum over a constant mask; the
    masks are short, since it sums more than 128 entries in three kernels instead of
    one. Accelerators fuse the slice into what uses it, and would launch a kernel for
    each sum.

    >>> [float(entry) for entry in unstack(jnp.array([3.0, 4.0]))]
    [3.0, 4.0]
    """

    def masked(vector: jax.Array) -> list[jax.Array]:
        padded = jnp.pad(vector, (0, -vector.size % WIDTH)).reshape(-1, WIDTH)
        rows = [
            jnp.sum(jnp.where(mask[:, None], padded, 0), axis=0, dtype=vector.dtype)
            for mask in np.eye(len(padded), dtype=bool)
        ]
        entries = [
            jnp.sum(jnp.where(mask, row, 0), dtype=vector.dtype)
            for row in rows
            for mask in np.eye(WIDTH, dtype=bool)
        ]
        return entries[: vector.size]

    def sliced(vector: jax.Array) -> list[jax.Array]:
        return [
            jax.lax.index_in_dim(vector, i, keepdims=False) for i in range(vector.size)
        ]

    return jax.lax.platform_dependent(vector, cpu=masked, default=sliced)


def _by_length(
    arrays: Sequence[Callable[[], jax.Array]],
) -> tuple[list[int], list[list[int]]]:
    """Return positions of large arrays, and those of short vectors of each length."""
    large: list[int] = []
    short: dict[int, list[int]] = {}
    for i, array in enumerate(arrays):
        # Not small matrices: they may be sharded, and a row is whole.
        if array().ndim < 2 and array().size <= LONGEST_ROW:
            short.setdefault(array().size, []).append(i)
        else:
            large.append(i)
    return large, list(short.values())


def _stack(arrays: Sequence[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.ravel(_magnitude(array)) for array in arrays])


def _sum_of_squares(x: jax.Array, scale: jax.Array | None) -> jax.Array:
    x = _magnitude(x)
    return jnp.sum(jnp.square(x if scale is None else x * scale))


def _magnitude(x: jax.Array) -> jax.Array:
    return (jnp.abs(x) if jnp.iscomplexobj(x) else x).astype(jnp.float32)
