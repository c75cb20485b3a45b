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
    states = _Threaded(model_state) if merge is None else _Moments.of(model_state)

    def add(carry: Any, part_and_key: Any) -> tuple[Any, Metrics]:
        total, states = carry
        before = states.last if merge is None else model_state
        gradients, after, metrics = one(before, *part_and_key)
        total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradients)
        states = _Threaded(after) if merge is None else states.add(model_state, after)
        return (total, states), metrics

    # Made of the parameters, so as to vary over the devices that those vary over.
    zeros = jax.tree.map(_wide_zeros, params)
    (total, states), metrics = jax.lax.scan(add, (zeros, states), (parts, keys))
    mean = jax.tree.map(lambda t, p: (t / microbatches).astype(p.dtype), total, params)
    if merge is None:
        model_state = states.last
    else:
        model_state = merge(*states.moments(model_state, microbatches))
    return mean, model_state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)


class _Threaded(NamedTuple):
    """The state that the last part left, which the next one begins with."""

    last: ModelState


class _Moments(NamedTuple):
    """Sums of d and d^2, where d is how far a part has moved the state."""

    first: ModelState
    second: ModelState

    @classmethod
    def of(cls, model_state: ModelState) -> "_Moments":
        zeros = jax.tree.map(_wide_zeros, model_state)
        return cls(zeros, zeros)

    def add(self, before: ModelState, after: ModelState) -> "_Moments":
        moved = jax.tree.map(
            lambda sum_, b, a: (a - b).astype(sum_.dtype), self.first, before, after
        )
        return _Moments(
            jax.tree.map(jnp.add, self.first, moved),
            jax.tree.map(lambda sum_, d: sum_ + jnp.square(d), self.second, moved),
        )

    def moments(self, before: ModelState, parts: int) -> tuple[ModelState, ModelState]:
        """Return mean and variance of the states that the parts left."""
        mean = jax.tree.map(
            lambda b, sum_: (b + sum_ / parts).astype(b.dtype), before, self.first
        )
        variance = jax.tree.map(
            lambda first, second: jnp.maximum(
                second / parts - jnp.square(first / parts), 0.0
            ),
            self.first,
            self.second,
        )
        return mean, variance


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
