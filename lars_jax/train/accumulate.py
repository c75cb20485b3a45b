"""Gradients of a batch that is taken in parts, one after the other.

A scan, so that memory does not grow with the number of parts. Which examples make a
part, and what becomes of the state that a network keeps, is decided so that the parts
add up to the whole batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.train.state import Metrics, ModelState, Params

Batch = Any
LossFn = Callable[
    [Params, ModelState, Batch, jax.Array],
    tuple[jax.Array, tuple[ModelState, Metrics]],
]
Merge = Callable[[ModelState, ModelState], ModelState]
"""From the mean and the variance of the micro-batches' states to the batch's state."""


def accumulate(
    loss_fn: LossFn,
    params: Params,
    model_state: ModelState,
    batch: Batch,
    key: jax.Array,
    *,
    microbatches: int,
    unit: int = 1,
    merge: Merge | None = None,
) -> tuple[Any, ModelState, Metrics]:
    """Return gradient, state and metrics of the mean loss over a batch.

    Args:
        loss_fn: as `update` takes it.
        params: parameters, by which the gradient is.
        model_state: the network's state before the step.
        batch: tree of arrays with the examples on axis 0, B of them.
        key: random key of the step; each part gets one of its own.
        microbatches: number of equal parts.
        unit: consecutive examples that no part separates.
        merge: how the states of the parts become one; see `update`.

    Raises:
        ValueError: the batch cannot be cut into such parts.
    """
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def one(model_state: ModelState, part: Batch, part_key: jax.Array) -> Any:
        (loss, (model_state, metrics)), gradients = value_and_grad(
            params, model_state, part, part_key
        )
        return gradients, model_state, metrics | {"loss": loss}

    if microbatches == 1:
        return one(model_state, batch, key)

    parts = jax.tree.map(lambda x: _split(x, microbatches, unit), batch)
    keys = jax.random.split(key, microbatches)
    states = _threaded() if merge is None else _merged(model_state, microbatches, merge)

    def add(carry: Any, part_and_key: Any) -> tuple[Any, Metrics]:
        total, kept = carry
        gradients, after, metrics = one(states.before(kept), *part_and_key)
        total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradients)
        return (total, states.add(kept, after)), metrics

    # Made of the parameters, so as to vary over the devices that those vary over.
    zeros = jax.tree.map(_wide_zeros, params)
    start = zeros, states.start(model_state)
    (total, kept), metrics = jax.lax.scan(add, start, (parts, keys))
    mean = jax.tree.map(lambda t, p: (t / microbatches).astype(p.dtype), total, params)
    metrics = jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)
    return mean, states.end(kept), metrics


class _States(NamedTuple):
    """What becomes of the states of the parts, by what a scan carries of them."""

    start: Callable[[ModelState], Any]
    """From the state before the step to what is carried."""
    before: Callable[[Any], ModelState]
    """The state that the next part begins with."""
    add: Callable[[Any, ModelState], Any]
    """What is carried once a part has left its state."""
    end: Callable[[Any], ModelState]
    """The state after the step."""


def _threaded() -> _States:
    """Hand the state that a part left to the next."""
    return _States(
        start=lambda state: state,
        before=lambda kept: kept,
        add=lambda kept, after: after,
        end=lambda kept: kept,
    )


def _merged(before: ModelState, parts: int, merge: Merge) -> _States:
    """Begin every part alike; merge by the sums of d and d^2, d how far each moved."""

    def add(kept: Any, after: ModelState) -> Any:
        first, second = kept
        moved = jax.tree.map(
            lambda sum_, b, a: (a - b).astype(sum_.dtype), first, before, after
        )
        return (
            jax.tree.map(jnp.add, first, moved),
            jax.tree.map(lambda sum_, d: sum_ + jnp.square(d), second, moved),
        )

    def variance(first: jax.Array, second: jax.Array) -> jax.Array:
        return jnp.maximum(second / parts - jnp.square(first / parts), 0.0)

    def end(kept: Any) -> ModelState:
        first, second = kept
        mean = jax.tree.map(
            lambda b, sum_: (b + sum_ / parts).astype(b.dtype), before, first
        )
        return merge(mean, jax.tree.map(variance, first, second))

    return _States(
        start=lambda state: (jax.tree.map(_wide_zeros, state),) * 2,
        before=lambda kept: before,
        add=add,
        end=end,
    )


def _wide_zeros(x: jax.Array) -> jax.Array:
    return jnp.zeros_like(x, np.promote_types(x.dtype, np.float32))


def _split(x: jax.Array, parts: int, unit: int) -> jax.Array:
    """Return [parts, B / parts, ...], unit i going to part i mod parts.

    Dealing units out, rather than cutting the batch into runs, leaves each part spread
    evenly over the devices that hold the batch, so nothing has to move.
    """
    if x.shape[0] % (parts * unit):
        whole = "" if unit == 1 else f" in units of {unit}"
        raise ValueError(
            f"microbatches must divide the batch; got {parts} parts of {x.shape[0]} "
            f"examples on a device{whole}: choose a divisor"
        )
    units = x.reshape(-1, parts, unit, *x.shape[1:])
    return jnp.swapaxes(units, 0, 1).reshape(parts, -1, *x.shape[1:])
