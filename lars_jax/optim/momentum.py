"""Momentum whose buffer keeps the dtype that it was given at the start."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.optim.layers import require_static
from lars_jax.optim.numbers import Scalar, require_bool, require_number


def trace(
    decay: Scalar, *, nesterov: bool = False, accumulator_dtype: Any | None = None
) -> optax.GradientTransformation:
    """Accumulate updates with momentum, as `optax.trace`, in a buffer of one dtype.

    v <- m v + u;  the update is v, or u + m v with Nesterov's look-ahead.

    `optax.trace` lets the buffer take the dtype of what is added to it, so that
    bfloat16 parameters with float32 gradients change the state's type after one step,
    which `scan` and `cond` refuse and `jit` answers with a second compilation.

    Args:
        decay: m; may be traced.
        nesterov: look ahead by one step.
        accumulator_dtype: dtype of the buffer, its complex kin for complex parameters;
            None: that of the parameter.

    Raises:
        ValueError: a decay outside [0, 1); `accumulator_dtype` is no dtype, or one of
            integers.

    Returns:
        A transformation with an `optax.TraceState`; the sum is formed in the wider of
        the two dtypes.

    >>> import jax.numpy as jnp
    >>> tx = trace(0.5)
    >>> state = tx.init(jnp.zeros(1, jnp.bfloat16))
    >>> u, state = tx.update(jnp.ones(1), state)
    >>> u, state = tx.update(jnp.ones(1), state)
    >>> print(u, state.trace.dtype)
    [1.5] bfloat16
    """
    require_static(nesterov=nesterov, accumulator_dtype=accumulator_dtype)
    require_number("decay", decay, below=1)
    require_bool("nesterov", nesterov)
    given = None if accumulator_dtype is None else _floating(accumulator_dtype)

    def init(params: Any) -> optax.TraceState:
        # Like the parameter, so as to lie where it lies on a mesh.
        return optax.TraceState(
            jax.tree.map(lambda p: jnp.zeros_like(p, dtype=dtype_of(p)), params)
        )

    def dtype_of(parameter: Any) -> Any:
        dtype = jnp.result_type(parameter)
        if given is None:
            return dtype
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        return np.promote_types(given, np.complex64) if is_complex else given

    def accumulated(buffer: jax.Array, update: jax.Array | None) -> tuple[Any, Any]:
        """Return what a leaf moves by, and its buffer."""
        if update is None:
            return None, buffer
        wide = np.promote_types(buffer.dtype, update.dtype)
        m, added = jnp.asarray(decay, wide), update.astype(wide)
        summed = m * buffer.astype(wide) + added
        moved = added + m * summed if nesterov else summed
        return moved, summed.astype(buffer.dtype)

    def update(
        updates: Any, state: optax.OptState, params: Any | None = None
    ) -> tuple[Any, optax.TraceState]:
        del params
        assert isinstance(state, optax.TraceState)
        both = jax.tree.map(accumulated, state.trace, updates)
        moved, buffers = (
            jax.tree.map(lambda _, pair, i=i: pair[i], state.trace, both)
            for i in (0, 1)
        )
        return moved, optax.TraceState(buffers)

    return optax.GradientTransformation(init, update)


def _floating(accumulator_dtype: Any) -> np.dtype:
    with contextlib.suppress(TypeError):
        dtype = jnp.dtype(accumulator_dtype)
        if jnp.issubdtype(dtype, jnp.inexact):
            return dtype
    raise ValueError(
        "accumulator_dtype must be a floating or complex dtype; got "
        f"{accumulator_dtype!r}: momentum would lose its fractions"
    )
