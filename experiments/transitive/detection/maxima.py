"""Maxima of a map over many rectangles.

The maximum over a rectangle is that of four windows of 2**i by 2**j that cover it, and
the maxima over all such windows are shared by all rectangles: about log(H) log(W)
tables of the map's size. For the 49 bins of each of 128 regions on a map [12, 16, 128]
that took 5 ms on a CPU, where masked maxima of each region took 57 and a loop over the
positions of bins 56. A map [38, 63, 512] has 36 tables, 0.18 GB, and as much again for
positions where there is a gradient.
"""

import jax
import jax.numpy as jnp

Table = tuple[jax.Array, jax.Array | None]
"""Maxima, and the row-major positions of the first of each, if they are wanted."""


@jax.custom_vjp
def rectangle_maxima(
    features: jax.Array,
    top: jax.Array,
    bottom: jax.Array,
    left: jax.Array,
    right: jax.Array,
) -> jax.Array:
    """Return the maxima over rectangles, those of each row by those of each column.

    The gradient goes to the first of equal maxima, row by row.

    Args:
        features: [H, W, C].
        top: int32 [R, P], first rows of the rectangles of R regions, in 0 .. H.
        bottom: int32 [R, P], the rows past their last, in 0 .. H.
        left: int32 [R, Q], first columns, in 0 .. W.
        right: int32 [R, Q], the columns past their last, in 0 .. W.

    Returns:
        [R, P, Q, C]; 0 where a rectangle is empty.

    >>> features = jnp.array([[[1.0], [5.0], [2.0]], [[4.0], [0.0], [3.0]]])
    >>> ends = (jnp.array([[0, 1]]), jnp.array([[2, 2]])), (jnp.zeros((1, 1), int),)
    >>> (top, bottom), (left,) = ends
    >>> print(jax.jit(rectangle_maxima)(features, top, bottom, left, left + 2).ravel())
    [5. 4.]
    """
    maxima, _ = _maxima((features, None), top, bottom, left, right)
    return maxima


def _forward(
    features: jax.Array,
    top: jax.Array,
    bottom: jax.Array,
    left: jax.Array,
    right: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    height, width, _ = features.shape
    place = jnp.arange(height * width, dtype=jnp.int32).reshape(height, width, 1)
    table = features, jnp.broadcast_to(place, features.shape)
    maxima, first = _maxima(table, top, bottom, left, right)
    assert first is not None
    return maxima, (first, features)


def _backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None, None, None, None]:
    first, features = kept
    channels = features.shape[-1]
    channel = jnp.broadcast_to(jnp.arange(channels, dtype=jnp.int32), first.shape)
    # An empty bin's position is past the end, which is dropped.
    found = jnp.zeros_like(features).reshape(-1, channels)
    found = found.at[first, channel].add(gradient, mode="drop")
    return found.reshape(features.shape), None, None, None, None


rectangle_maxima.defvjp(_forward, _backward)


def _maxima(
    table: Table, top: jax.Array, bottom: jax.Array, left: jax.Array, right: jax.Array
) -> Table:
    """Return the maxima over rectangles, and where each is first."""
    height, width, channels = table[0].shape
    tables = _tables(table)
    levels = width.bit_length()
    row_level, low = _level(top, bottom)
    column_level, far = _level(left, right)
    level = row_level[:, :, None] * levels + column_level[:, None, :]

    def at(row: jax.Array, column: jax.Array) -> Table:
        row = jnp.clip(row, 0, height - 1)[:, :, None]
        column = jnp.clip(column, 0, width - 1)[:, None, :]
        place = (level * height + row) * width + column
        value, first = (
            None if t is None else t.reshape(-1, channels)[place] for t in tables
        )
        assert value is not None
        return value, first

    upper = _larger(at(top, left), at(top, far))
    value, first = _larger(upper, _larger(at(low, left), at(low, far)))
    some = ((top < bottom)[:, :, None] & (left < right)[:, None, :])[..., None]
    past = height * width
    return (
        jnp.where(some, value, 0.0),
        None if first is None else jnp.where(some, first, past),
    )


def _level(first: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the largest i such that 2**i positions fit, and where the last begin."""
    level = 31 - jax.lax.clz(jnp.maximum(end - first, 1))
    return level, end - jnp.left_shift(1, level)


def _tables(table: Table) -> Table:
    """Return the maxima of windows of 2**i by 2**j from each position on.

    [(levels of rows) (levels of columns), H, W, C]; a window over the edge of the map
    is of no use.
    """
    height, width, _ = table[0].shape
    rows = _doubled(table, height.bit_length(), axis=0)
    each = [w for row in rows for w in _doubled(row, width.bit_length(), axis=1)]
    values = jnp.stack([value for value, _ in each])
    firsts = [first for _, first in each if first is not None]
    return values, jnp.stack(firsts) if firsts else None


def _doubled(table: Table, levels: int, axis: int) -> list[Table]:
    found = [table]
    for level in range(levels - 1):
        value, first = found[-1]
        moved = (
            _moved(value, 2**level, axis),
            None if first is None else _moved(first, 2**level, axis),
        )
        found.append(_larger(found[-1], moved))
    return found


def _moved(x: jax.Array, by: int, axis: int) -> jax.Array:
    """Return x from `by` on; what that leaves open at the end is not looked at."""
    return jnp.roll(x, -by, axis)


def _larger(a: Table, b: Table) -> Table:
    """Return the greater values, and of equal ones the first."""
    if a[1] is None or b[1] is None:
        return jnp.maximum(a[0], b[0]), None
    other = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return jnp.where(other, b[0], a[0]), jnp.where(other, b[1], a[1])
