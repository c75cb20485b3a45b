"""The one training primitive: a pure step from a loss and a transformation."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lars_jax.train.accumulate import Batch, LossFn, Merge, accumulate
from lars_jax.train.state import Metrics, TrainState


def update(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    microbatches: int = 1,
    unit: int = 1,
    merge: Merge | None = None,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Return the state after one optimizer step, and what was measured on the way.

    The gradient is that of the mean loss over the batch. With several micro-batches it
    is accumulated in float32 by a scan, so memory does not grow with their number.

    Args:
        loss_fn: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`,
            the loss a mean over the examples of the batch it was given.
        tx: the optimizer.
        state: the state before the step.
        batch: tree of arrays with the examples on axis 0, B of them.
        key: random key of this step.
        microbatches: number of equal parts.
        unit: consecutive examples that stay together in one part, as those do that are
            normalised together; `unit * microbatches` must divide B, or a device's
            share of it inside a mapped step.
        merge: from the mean and the variance of the states that the parts leave, each
            beginning with the state before the step, to the state after it; for
            networks of `lars_jax.models` it is `merge_running`. None: each part begins
            with the state that the one before it left.
        axis_name: mapped axis to average over, inside `shard_map` or `pmap`; None
            under `jit`, where arrays are global and there is nothing to average.

    Returns:
        The new state, and the mean metrics of the batch with `loss` and, for each leaf
        of the gradient, whether it was `nonfinite` (bool [L]).

    Raises:
        ValueError: the batch cannot be cut into such parts.

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
    gradients, model_state, metrics = accumulate(
        loss_fn,
        _local(state.params, axis_name),
        _local(state.model_state, axis_name),
        batch,
        key,
        microbatches=microbatches,
        unit=unit,
        merge=merge,
    )
    if axis_name is not None:
        gradients, model_state, metrics = jax.lax.pmean(
            (gradients, model_state, metrics), axis_name
        )
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = metrics | {"nonfinite": _nonfinite(gradients)}
    return TrainState(state.step + 1, params, model_state, opt_state), metrics


def _local(tree: Any, axis_name: str | None) -> Any:
    """Return arrays that each device calls its own, inside a mapped step.

    With its checks on, `shard_map` sums the gradient by an array that is the same on
    all devices, so that a mean of such gradients is as many times too large as there
    are devices. The gradient by a device's own array is that of its own examples.
    """
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: jax.lax.pcast(x, axis_name, to="varying"), tree)


def _nonfinite(tree: Any) -> jax.Array:
    return jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])
