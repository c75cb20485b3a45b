"""The one training primitive: a pure step from a loss and a transformation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.train.state import Metrics, ModelState, Params, TrainState

Batch = Any
LossFn = Callable[
    [Params, ModelState, Batch, jax.Array],
    tuple[jax.Array, tuple[ModelState, Metrics]],
]


def update(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    microbatches: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Return the state after one optimizer step, and what was measured on the way.

    The gradient is that of the mean loss over the batch. With several micro-batches it
    is accumulated in float32 by a scan, so memory does not grow with their number;
    batch statistics then pass through the micro-batches in order, and each is
    normalised by itself.

    Args:
        loss_fn: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`,
            the loss a mean over the examples of the batch it was given.
        tx: the optimizer.
        state: the state before the step.
        batch: tree of arrays with the examples on axis 0, B of them.
        key: random key of this step.
        microbatches: number of equal parts, which must divide B.
        axis_name: mapped axis to average over, inside `pmap`; None under `jit`, where
            arrays are global and there is nothing to average.

    Returns:
        The new state, and the mean metrics of the batch with `loss` and, for each leaf
        of the gradient, whether it was `nonfinite` (bool [L]).

    Raises:
        ValueError: `microbatches` does not divide the batch.

    One step of w <- w - 0.5 * d/dw mean((w - x)^2):

    >>> import jax, jax.numpy as jnp, optax
    >>> def loss_fn(params, model_state, batch, key):
    ...     return jnp.mean((params["w"] - batch) ** 2), (model_state, {})
    >>> tx = optax.sgd(0.5)
    >>> state = TrainState.create({"w": jnp.zeros(())}, {}, tx)
    >>> state, metrics = update(
    ...     loss_fn, tx, state, jnp.array([1.0, 3.0]), jax.random.key(0)
    ... )
    >>> print(state.params["w"], metrics["loss"], state.step)
    2.0 5.0 1
    """
    gradients, model_state, metrics = _accumulate(
        loss_fn, state, batch, key, microbatches
    )
    if axis_name is not None:
        gradients, model_state, metrics = jax.lax.pmean(
            (gradients, model_state, metrics), axis_name
        )
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = metrics | {"nonfinite": _nonfinite(gradients)}
    return TrainState(state.step + 1, params, model_state, opt_state), metrics


def _accumulate(
    loss_fn: LossFn, state: TrainState, batch: Batch, key: jax.Array, microbatches: int
) -> tuple[Any, ModelState, Metrics]:
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def one(model_state: ModelState, part: Batch, part_key: jax.Array):
        (loss, (model_state, metrics)), gradients = value_and_grad(
            state.params, model_state, part, part_key
        )
        return gradients, model_state, metrics | {"loss": loss}

    if microbatches == 1:
        return one(state.model_state, batch, key)

    parts = jax.tree.map(lambda x: _split(x, microbatches), batch)
    keys = jax.random.split(key, microbatches)

    def add(carry: Any, part_and_key: Any) -> tuple[Any, Metrics]:
        total, model_state = carry
        gradients, model_state, metrics = one(model_state, *part_and_key)
        total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradients)
        return (total, model_state), metrics

    zeros = jax.tree.map(
        lambda p: jnp.zeros(p.shape, np.promote_types(p.dtype, np.float32)),
        state.params,
    )
    (total, model_state), metrics = jax.lax.scan(
        add, (zeros, state.model_state), (parts, keys)
    )
    mean = jax.tree.map(
        lambda t, p: (t / microbatches).astype(p.dtype), total, state.params
    )
    return mean, model_state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)


def _split(x: jax.Array, parts: int) -> jax.Array:
    """Return [parts, B / parts, ...], example i going to part i mod parts.

    Dealing examples out, rather than cutting the batch into runs, leaves each part
    spread evenly over the devices that hold the batch, so nothing has to move.
    """
    if x.shape[0] % parts:
        raise ValueError(
            f"microbatches must divide the batch; got {parts} parts of {x.shape[0]} "
            "examples on a device: choose a divisor"
        )
    return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)


def _nonfinite(tree: Any) -> jax.Array:
    return jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])
