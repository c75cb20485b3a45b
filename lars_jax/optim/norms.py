"""Norms of layers: over slices, over the shards of a mesh, and in range.

float32 squares leave their range for norms beyond about 1e19 or below 1e-19. The plain
sum of squares is taken first; only where one of them left its range are the norms taken
again, of scaled arrays, so that a step in range does not pay for the second pass.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

# A square below 2**-126 is lost. A sum above this much an element has lost less than a
# unit in its last place to all that were.
LOWEST_MEAN_SQUARE = 2.0**-102
UP, DOWN = 2.0**64, 2.0**-64


def at_least_float32(dtype: Any) -> np.dtype:
    """Return float32, or the dtype itself where that is wider.

    NumPy's promotion, because JAX refuses to promote bfloat16 in its strict mode.

    >>> at_least_float32("bfloat16")
    dtype('float32')
    """
    return np.promote_types(jnp.dtype(dtype), np.float32)


def leaf_norm(x: jax.Array) -> jax.Array:
    """Return the Euclidean norm of an array, in float32 or wider.

    ||x|| = sqrt(sum(|x|^2)), right for norms from 1e-30 to 1e30.

    >>> import jax.numpy as jnp
    >>> float(leaf_norm(jnp.array([3.0, 4.0], jnp.bfloat16)))
    5.0
    """
    return norms([lambda: x], [None])[0]


def norms(
    arrays: Sequence[Callable[[], jax.Array]],
    stacked_axes: Sequence[int | None],
    *,
    scaled: bool = True,
) -> list[jax.Array]:
    """Return the norm of each array, or of each slice along its stacked axis.

    Args:
        arrays: functions that return floating or complex arrays of any shapes. They are
            called again within the second pass: an array computed outside of it, even
            a mere conversion, would be written to memory in case the pass is taken.
        stacked_axes: for each array the axis that counts layers, or None.
        scaled: take norms again, of scaled arrays, where squares left float32's range.

    Returns:
        For each array a scalar, or [S] for S slices, in float32 or wider.
    """
    sums = [
        sum_of_squares(x(), axis) for x, axis in zip(arrays, stacked_axes, strict=True)
    ]
    risky = [i for i, x in enumerate(arrays) if scaled and _may_leave_range(x())]
    found = [root(total) for total in sums]
    if risky:
        at_risk = [_Array(arrays[i], stacked_axes[i], sums[i]) for i in risky]
        for i, norm in zip(risky, _guarded(at_risk), strict=True):
            found[i] = norm
    return found


def join(parts: Sequence[jax.Array]) -> jax.Array:
    """Return the norm of the whole from the norms of its parts.

    ||(a, b)|| = sqrt(||a||^2 + ||b||^2), without leaving the range of a float.

    >>> import jax.numpy as jnp
    >>> float(join([jnp.float32(3e25), jnp.float32(4e25)]) / 1e25)
    5.0
    """
    if len(parts) == 1:
        return parts[0]
    largest = parts[0]
    for part in parts[1:]:
        largest = jnp.maximum(largest, part)
    unit = _unit(largest)
    total = sum(jnp.square(part / unit) for part in parts)
    return _rescaled(jnp.asarray(total), largest, unit)


def join_shards(
    parts: Sequence[jax.Array], axis_names: Sequence[tuple[Hashable, ...]]
) -> list[jax.Array]:
    """Return the norms of whole arrays from those of shards, inside a mapped step.

    Args:
        parts: norms of the local shards.
        axis_names: for each the mesh axes over which its array is split; () for none.

    Returns:
        The norms, equal on all devices along those axes. One maximum and one sum cross
        the mesh for each distinct set of axes.
    """
    joined = list(parts)
    for axes in sorted(set(axis_names) - {()}, key=repr):
        members = [i for i, names in enumerate(axis_names) if names == axes]
        local = [parts[i] for i in members]
        largest = jax.lax.pmax(jax.lax.stop_gradient(local), axes)
        units = [_unit(norm) for norm in largest]
        squares = [jnp.square(n / u) for n, u in zip(local, units, strict=True)]
        totals = jax.lax.psum(squares, axes)
        for i, *numbers in zip(members, totals, largest, units, strict=True):
            joined[i] = _rescaled(*numbers)
    return joined


def sum_of_squares(
    x: jax.Array, stacked_axis: int | None = None, scale: jax.Array | None = None
) -> jax.Array:
    """Return the sum of |x|^2, or of |scale * x|^2, in float32 or wider.

    >>> import jax.numpy as jnp
    >>> print(sum_of_squares(jnp.array([[3.0, 4.0], [0.0, 2.0]]), 0))
    [25.  4.]
    """
    x = x.astype(at_least_float32(x.dtype))
    axes = _other_axes(x, stacked_axis)
    if scale is not None:
        x = x * jnp.expand_dims(scale, () if stacked_axis is None else axes).astype(
            x.dtype
        )
    squares = jnp.square(jnp.abs(x)) if jnp.iscomplexobj(x) else jnp.square(x)
    return jnp.sum(squares, axis=axes)


def replicated(x: jax.Array) -> jax.Array:
    """Return an array whole, where a mesh of type Explicit says that it is split.

    >>> import jax.numpy as jnp
    >>> print(replicated(jnp.ones(2)))
    [1. 1.]
    """
    if all(entry is None for entry in jax.typeof(x).sharding.spec):
        return x
    return jax.sharding.reshard(x, jax.P(*[None] * x.ndim))


def range_scale(total: jax.Array, lowest: Any) -> tuple[jax.Array, jax.Array]:
    """Return whether sums of squares stayed in range, and what to scale arrays by.

    Args:
        total: float32 sums of any shape.
        lowest: for each the least sum that has lost no square that counts in it.

    >>> import jax.numpy as jnp
    >>> fine, scale = range_scale(jnp.array([25.0, jnp.inf, 0.0]), 1e-30)
    >>> print(fine, jnp.log2(scale))
    [ True False False] [  0. -64.  64.]
    """
    fine = jnp.isfinite(total) & (total >= lowest)
    # A power of two changes no digit.
    return fine, jnp.where(fine, 1.0, jnp.where(total < 1, UP, DOWN))


def choose(
    condition: jax.Array, then: Callable[[], Any], otherwise: Callable[[], Any]
) -> Any:
    """Return the result of one of two functions, computing no other.

    >>> import jax.numpy as jnp
    >>> choose(jnp.array(True), lambda: 1, lambda: 2)
    1
    """
    if isinstance(condition, jax.core.Tracer):
        return jax.lax.cond(condition, then, otherwise)
    # Outside of jit a conditional would be compiled anew at every call.
    return then() if condition else otherwise()


def _other_axes(x: jax.Array, stacked_axis: int | None) -> tuple[int, ...]:
    kept = None if stacked_axis is None else stacked_axis % x.ndim
    return tuple(axis for axis in range(x.ndim) if axis != kept)


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """Return the square root, with derivative zero at zero."""
    return jnp.sqrt(x)


@root.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[Any, Any]:
    # The derivative of a root at zero is infinite and turns gradients through an
    # update of a zero leaf into NaN. Here, and not as a select around the root, because
    # that would cost every step two operations for each layer.
    (x,), (tangent,) = primals, tangents
    root = jnp.sqrt(x)
    slope = jnp.where(x > 0, 0.5 / jnp.where(x > 0, root, 1.0), 0.0)
    return root, slope * tangent


def _may_leave_range(x: jax.Array) -> bool:
    # Squares of float16 numbers always fit float32; float64 has range to spare.
    narrow = at_least_float32(x.dtype) in (np.float32, np.complex64)
    return narrow and x.dtype != np.float16 and x.size > 0


class _Array(NamedTuple):
    """An array whose squares may leave their range, and the plain sum of them."""

    values: Callable[[], jax.Array]
    stacked_axis: int | None
    total: jax.Array

    @property
    def lowest(self) -> float:
        """Below this a sum has lost squares that would count in it."""
        return self.values().size // self.total.size * LOWEST_MEAN_SQUARE

    @property
    def scale(self) -> jax.Array:
        """A power of two that brings the squares back into range."""
        return range_scale(self.total, self.lowest)[1]

    def again(self) -> jax.Array:
        return sum_of_squares(self.values(), self.stacked_axis, self.scale)


def _guarded(arrays: list[_Array]) -> list[jax.Array]:
    """Return norms, taking the sums again if any of them left its range."""
    totals = jnp.concatenate([jnp.ravel(replicated(a.total)) for a in arrays])
    lowest = np.repeat([a.lowest for a in arrays], [a.total.size for a in arrays])
    fine = jnp.all(range_scale(totals, lowest.astype(np.float32))[0])
    sums = [array.total for array in arrays]
    sums = choose(fine, lambda: sums, lambda: [array.again() for array in arrays])
    # The scales are formed anew out here: as results of the branches they would be
    # hundreds of scalars more to hand over.
    return [
        root(total) / array.scale for array, total in zip(arrays, sums, strict=True)
    ]


def _unit(largest: jax.Array) -> jax.Array:
    return jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)


def _rescaled(total: jax.Array, largest: jax.Array, unit: jax.Array) -> jax.Array:
    return unit * root(total)
