"""Norms of all layers at once, as vectors: a multi-tensor norm.

A network has hundreds of leaves, most of them small, and a kernel of its own for each
step of the arithmetic of each leaf is what an optimizer's compilation, and its launches
on an accelerator, are spent on. Here short vectors of one length share a sum, and
everything after the sums is arithmetic of vectors.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.layers import layer_slices, num_layers

UP, DOWN = 2.0**64, 2.0**-64
SMALL = 2.0**-60
"""From here on a plain sum has lost nothing that counts: squares below 2**-126."""

LONGEST_ROW = 2048
"""Vectors of up to this many entries share the sum of those of the same length."""

WIDTH = 16
"""Entries that `unstack` takes out of a vector at once on a CPU."""

Pair = tuple[jax.Array, jax.Array]
"""Two arrays of one shape, as weights and their gradient are."""


def at_least_float32(dtype: Any) -> np.dtype:
    """Return float32, or the dtype itself where that is wider."""
    # NumPy's promotion: JAX refuses to promote bfloat16 in its strict mode.
    return np.promote_types(jnp.dtype(dtype), np.float32)


def sums_of_squares(
    pairs: Sequence[Pair], stacked_axes: Sequence[int | None], dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Return sums of squares of pairs of arrays, or of their slices, and three scales.

    Sums of |scale * x|^2, float [3, N, L], are by scale, array of a pair, and layer;
    they add up where layers are put together. The first scale is 1.

    A CPU's step is spent on arithmetic and passes over memory, so there one plain sum
    stands for all three. On an accelerator arithmetic is free and launches are not:
    one reduction reads both arrays of a pair and sums their squares at three scales.
    """
    shapes = zip(pairs, stacked_axes, strict=True)
    counts = [num_layers(x, axis) for (x, _), axis in shapes]
    each = [x.size / max(n, 1) for (x, _), n in zip(pairs, counts, strict=True)]
    sizes = np.repeat(each, counts)
    blocks, layers = _blocks(pairs, stacked_axes), layer_slices(counts)
    order = [np.arange(len(sizes))[layers[i]] for members, _ in blocks for i in members]
    place = np.argsort(np.concatenate(order))

    def collected(sums: Any, pairs: Sequence[Pair]) -> jax.Array:
        parts = [sums(*block) for block in _arrays(pairs, blocks, dtype)]
        columns = [
            jnp.atleast_1d(replicated(x)) for c in zip(*parts, strict=True) for x in c
        ]
        shape = len(parts[0]) // 2, 2, len(place)
        return jnp.concatenate(columns).reshape(shape)[..., place]

    def plain(pairs: Sequence[Pair]) -> tuple[jax.Array, jax.Array]:
        totals = collected(_plain_sums, pairs)
        # Below this the squares that were lost may outweigh those that were not.
        least = jnp.asarray(sizes[None, None] * jnp.finfo(dtype).tiny, dtype)
        totals = jnp.where(totals < least, 0.0, totals)
        return jnp.broadcast_to(totals, (3, *totals.shape[1:])), jnp.ones(3, dtype)

    def in_range(pairs: Sequence[Pair]) -> tuple[jax.Array, jax.Array]:
        return collected(_scaled_sums, pairs), jnp.array([1.0, UP, DOWN], dtype)

    return jax.lax.platform_dependent(pairs, cpu=plain, default=in_range)


def norms(totals: jax.Array, scales: jax.Array) -> jax.Array:
    """Return the norms, float [N, L], each from the sum that has lost nothing."""
    plain, enlarged, reduced = totals
    one, up, down = scales
    small, fits = plain < SMALL, jnp.isfinite(plain)
    total = jnp.where(small, enlarged, jnp.where(fits, plain, reduced))
    # Scales are powers of two, which change no digit.
    return root(total) / jnp.where(small, up, jnp.where(fits, one, down))


def unstack(vector: jax.Array) -> list[jax.Array]:
    """Return the entries of a vector as scalars.

    XLA's compiler for CPUs takes some 8 ms for each slice, because no two kernels that
    hold one are the same, and a hundredth of that for a sum over a constant mask; the
    masks are short, since it sums more than 128 entries in three kernels instead of
    one. Accelerators fuse the slice into what uses it, and would launch a kernel for
    each sum.
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


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """Return the square root, with derivative zero at zero."""
    return jnp.sqrt(x)


@root.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[Any, Any]:
    # The derivative of a root at zero is infinite and turns gradients through an
    # update of a zero leaf into NaN.
    (x,), (tangent,) = primals, tangents
    root = jnp.sqrt(x)
    slope = jnp.where(x > 0, 0.5 / jnp.where(x > 0, root, 1.0), 0.0)
    return root, slope * tangent


def replicated(x: jax.Array) -> jax.Array:
    """Return an array whole, where a mesh of type Explicit says that it is split."""
    if all(entry is None for entry in jax.typeof(x).sharding.spec):
        return x
    return jax.sharding.reshard(x, jax.P(*[None] * x.ndim))


def _blocks(
    pairs: Sequence[Pair], stacked_axes: Sequence[int | None]
) -> list[tuple[list[int], int | None]]:
    """Return positions of arrays that share a sum, and the axis that it leaves.

    Large arrays are each by itself, short vectors of one length together.
    """
    blocks: list[tuple[list[int], int | None]] = []
    short: dict[Any, list[int]] = {}
    for i, (pair, axis) in enumerate(zip(pairs, stacked_axes, strict=True)):
        # Not small matrices: they may be sharded, and a row is whole.
        if axis is None and pair[0].ndim < 2 and pair[0].size <= LONGEST_ROW:
            # The type holds the sharding, on a mesh of type Explicit, and the mesh axes
            # over which an array varies, inside shard_map.
            short.setdefault(tuple(map(jax.typeof, pair)), []).append(i)
        else:
            blocks.append(([i], axis))
    rows = [(members, 0 if len(members) > 1 else None) for members in short.values()]
    return blocks + rows


def _arrays(
    pairs: Sequence[Pair], blocks: list[tuple[list[int], int | None]], dtype: Any
) -> Iterator[tuple[Pair, tuple[int, ...]]]:
    """Yield the two arrays of each block and the axes that are summed over."""
    for members, kept_axis in blocks:
        both = []
        for column in zip(*(pairs[i] for i in members), strict=True):
            wide = [jnp.abs(x) if jnp.iscomplexobj(x) else x for x in column]
            wide = [x.astype(dtype) for x in wide]
            rows = [jnp.ravel(x) for x in wide]
            both.append(wide[0] if len(members) == 1 else jnp.stack(rows))
        x, y = both
        yield (x, y), tuple(axis for axis in range(x.ndim) if axis != kept_axis)


def _plain_sums(pair: Pair, axes: tuple[int, ...]) -> list[jax.Array]:
    return [jnp.sum(jnp.square(x), axes) for x in pair]


def _scaled_sums(pair: Pair, axes: tuple[int, ...]) -> list[jax.Array]:
    kinds = set(map(jax.typeof, pair))
    if len(kinds) == 1:
        return list(_sums(tuple(_scaled(pair)), axes))
    # One reduction takes arrays of one type only.
    apart = [_sums(tuple(_scaled((x,))), axes) for x in pair]
    return [total for scale in zip(*apart, strict=True) for total in scale]


def _scaled(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    return [*arrays, *(x * scale for scale in (UP, DOWN) for x in arrays)]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _sums(
    arrays: tuple[jax.Array, ...], axes: tuple[int, ...]
) -> tuple[jax.Array, ...]:
    """Return the sum of squares of each array, all by one reduction."""
    tiny = jnp.finfo(arrays[0].dtype).tiny
    # XLA turns the plain square of a scaled scalar into (x * x) * (scale * scale),
    # whose second factor is infinite. Of more than one entry it does not, and there
    # any arithmetic beyond the square costs launches of its own on a GPU.
    squares = tuple(
        jnp.square(x) if x.size > 1 else jnp.abs(x) * jnp.maximum(jnp.abs(x), tiny)
        for x in arrays
    )
    zeros = (np.zeros((), arrays[0].dtype),) * len(arrays)

    def add(a: Any, b: Any) -> Any:
        return tuple(x + y for x, y in zip(a, b, strict=True))

    return jax.lax.reduce(squares, zeros, add, axes)


@_sums.defjvp
def _(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Any, Any]:
    # That of JAX for a reduction of several arrays cuts them in halves again and again.
    (arrays,), (moved,) = primals, tangents
    slopes = [2 * jnp.sum(x * t, axes) for x, t in zip(arrays, moved, strict=True)]
    return _sums(arrays, axes), tuple(slopes)
