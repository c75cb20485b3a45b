"""Norms of many arrays at once, as one vector.

A network has hundreds of leaves, most of them small, and a kernel of its own for each
step of the arithmetic of each leaf is what an optimizer's compilation, and its launches
on an accelerator, are spent on. Here short vectors of one length share a sum, and
everything after the sums is arithmetic of vectors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.norms import (
    LOWEST_MEAN_SQUARE,
    choose,
    range_scale,
    root,
    sum_of_squares,
)

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
    large, rows = _by_length(arrays)
    order = np.array([*large, *(i for row in rows for i in row)], int)
    stacks = [_stack([arrays[i]() for i in row]) for row in rows]
    totals = jnp.concatenate(
        [*(jnp.atleast_1d(sum_of_squares(arrays[i]())) for i in large)]
        + [sum_of_squares(stack, 0) for stack in stacks]
    )
    sizes = np.array([arrays[i]().size for i in order])
    fine, scale = range_scale(totals, np.float32(sizes * LOWEST_MEAN_SQUARE))

    def again() -> jax.Array:
        ends = np.cumsum([len(large), *map(len, rows)])
        first, *columns = jnp.split(scale, ends[:-1])
        scalars = zip(unstack(totals[: len(large)]), unstack(first), strict=True)
        parts = [
            jnp.atleast_1d(_scaled_again(arrays[i], *pair))
            for i, pair in zip(large, scalars, strict=True)
        ]
        parts += [
            sum_of_squares(stack, 0, column)
            for stack, column in zip(stacks, columns, strict=True)
        ]
        return jnp.concatenate(parts)

    totals = choose(jnp.all(fine), lambda: totals, again)
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


def _scaled_again(
    array: Callable[[], jax.Array], total: jax.Array, scale: jax.Array
) -> jax.Array:
    """Return the sum of one array's scaled squares, or the one that was in range.

    Most are, where a single leaf of zeros has brought the step here.
    """
    return choose(
        scale == 1.0, lambda: total, lambda: sum_of_squares(array(), scale=scale)
    )


def _by_length(
    arrays: Sequence[Callable[[], jax.Array]],
) -> tuple[list[int], list[list[int]]]:
    """Return positions of large arrays, and those of short vectors of each length."""
    large: list[int] = []
    short: dict[Any, list[int]] = {}
    for i, array in enumerate(arrays):
        # Not small matrices: they may be sharded, and a row is whole.
        if array().ndim < 2 and array().size <= LONGEST_ROW:
            # On a mesh of type Explicit only what is sharded alike may be stacked.
            kind = array().size, jax.typeof(array()).sharding
            short.setdefault(kind, []).append(i)
        else:
            large.append(i)
    return large, list(short.values())


def _stack(arrays: Sequence[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.ravel(_magnitude(array)) for array in arrays])


def _magnitude(x: jax.Array) -> jax.Array:
    return (jnp.abs(x) if jnp.iscomplexobj(x) else x).astype(jnp.float32)
