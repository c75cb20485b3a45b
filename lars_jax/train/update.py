"""The one training primitive: a pure step from a loss and a transformation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike

from lars_jax.train.state import Metrics, ModelState, Params, TrainState

Batch = Any
LossFn = Callable[
    [Params, ModelState, Batch, jax.Array],
    tuple[jax.Array, tuple[ModelState, Metrics]],
]
Merge = Callable[[ModelState, ModelState], ModelState]
"""From the mean and the variance of the micro-batches' states to the batch's state."""


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
    sum_dtype: DTypeLike | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
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
        key: random key of this step, the same on all devices inside a mapped step: what
            `loss_fn` draws for an example is to depend on the example's number.
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
        sum_dtype: dtype that gradients are averaged in over that axis; None: their own.
        sharding: of axis 0 of the batch, under `jit`, and so of each micro-batch. A
            unit may lie on some of the devices, and XLA then would rather have several
            do the same work than move examples. None: it may.

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
    gradients, model_state, metrics = _accumulate(
        loss_fn,
        _local(state.params, axis_name),
        _local(state.model_state, axis_name),
        batch,
        key,
        microbatches=microbatches,
        unit=unit,
        merge=merge,
        sharding=sharding,
    )
    if axis_name is not None:
        own = jax.tree.map(lambda g: g.astype(sum_dtype or g.dtype), gradients)
        own, model_state, metrics = jax.lax.pmean(
            (own, model_state, metrics), axis_name
        )
        gradients = jax.tree.map(lambda m, g: m.astype(g.dtype), own, gradients)
    return _stepped(tx, state, gradients, model_state, metrics)


def update_in_parts(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    state: TrainState,
    part: Callable[[jax.Array], Batch],
    parts: jax.Array,
    key: jax.Array,
    *,
    merge: Merge,
) -> tuple[TrainState, Metrics]:
    """Return what `update` does, of as many micro-batches as a traced number says.

    One compiled step then serves batches of every size. Where all fit in one array
    `update` is simpler, and it alone runs inside mapped steps.

    Args:
        loss_fn: as of `update`; its key is that of the micro-batch.
        tx: as of `update`.
        state: as of `update`.
        part: from the number of a micro-batch, int32 [], to that micro-batch.
        parts: number of micro-batches, int32 [], at least 1.
        key: random key of the step.
        merge: as of `update`.

    Returns:
        As of `update`.

    Two parts of mean 1 and 3 have mean 2, and a step of SGD at rate 0.5 takes 0.5 of
    the gradient 2 (w - x) = -4:

    >>> def loss_fn(params, model_state, batch, key):
    ...     return jnp.mean((params - batch) ** 2), (model_state, {})
    >>> batch, tx = jnp.array([[1.0, 1.0], [3.0, 3.0]]), optax.sgd(0.5)
    >>> state, metrics = update_in_parts(
    ...     loss_fn, tx, TrainState.create(jnp.array(0.0), {}, tx), batch.__getitem__,
    ...     jnp.array(2), jax.random.key(0), merge=lambda mean, variance: mean)
    >>> print(state.params, metrics["loss"])
    2.0 5.0
    """
    params, before = state.params, state.model_state
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def one(i: jax.Array) -> tuple[Any, ModelState, Metrics]:
        (loss, (after, metrics)), gradients = value_and_grad(
            params, before, part(i), jax.random.fold_in(key, i)
        )
        return gradients, after, metrics | {"loss": loss}

    def add(i: jax.Array, carry: Any) -> Any:
        total, kept, _, summed = carry
        gradients, after, metrics = one(i)
        total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradients)
        summed = jax.tree.map(jnp.add, summed, metrics)
        return total, _moved(kept, before, after), after, summed

    *_, metric_shapes = jax.eval_shape(one, parts)
    start = (
        jax.tree.map(_wide_zeros, params),
        (jax.tree.map(_wide_zeros, before),) * 2,
        before,
        jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), metric_shapes),
    )
    total, kept, last, summed = jax.lax.fori_loop(0, parts, add, start)
    count = parts.astype(jnp.float32)
    mean = jax.tree.map(lambda t, p: (t / count).astype(p.dtype), total, params)
    metrics = jax.tree.map(lambda m: m / count, summed)
    merged = merge(*_moments(kept, before, count))
    # A single part leaves its state as it is, as in `update`.
    model_state = jax.tree.map(lambda a, b: jnp.where(parts == 1, a, b), last, merged)
    return _stepped(tx, state, mean, model_state, metrics)


def _stepped(
    tx: optax.GradientTransformation,
    state: TrainState,
    gradients: Any,
    model_state: ModelState,
    metrics: Metrics,
) -> tuple[TrainState, Metrics]:
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


def _accumulate(
    loss_fn: LossFn,
    params: Params,
    model_state: ModelState,
    batch: Batch,
    key: jax.Array,
    *,
    microbatches: int,
    unit: int,
    merge: Merge | None,
    sharding: jax.sharding.NamedSharding | None,
) -> tuple[Any, ModelState, Metrics]:
    """Return gradient, state and metrics of the mean loss over a batch."""
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def one(model_state: ModelState, part: Batch, part_key: jax.Array) -> Any:
        (loss, (model_state, metrics)), gradients = value_and_grad(
            params, model_state, part, part_key
        )
        return gradients, model_state, metrics | {"loss": loss}

    if microbatches == 1:
        return one(model_state, batch, key)

    parts = jax.tree.map(lambda x: _split(x, microbatches, unit), batch)
    if sharding is not None:
        place = jax.NamedSharding(sharding.mesh, jax.P(None, *sharding.spec))
        parts = jax.lax.with_sharding_constraint(parts, place)
    keys = jax.random.split(key, microbatches)

    def add(carry: Any, part_and_key: Any) -> tuple[Any, Metrics]:
        total, kept = carry
        before = kept if merge is None else model_state
        gradients, after, metrics = one(before, *part_and_key)
        total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradients)
        return (total, after if merge is None else _moved(kept, before, after)), metrics

    # Made of the parameters, so as to vary over the devices that those vary over.
    zeros = jax.tree.map(_wide_zeros, params)
    kept = model_state
    if merge is not None:
        kept = (jax.tree.map(_wide_zeros, model_state),) * 2
    (total, kept), metrics = jax.lax.scan(add, (zeros, kept), (parts, keys))
    mean = jax.tree.map(lambda t, p: (t / microbatches).astype(p.dtype), total, params)
    metrics = jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)
    if merge is not None:
        kept = merge(*_moments(kept, model_state, microbatches))
    return mean, kept, metrics


def _moved(sums: Any, before: ModelState, after: ModelState) -> Any:
    """Return the sums of d and of d^2 with one more d, how far a state has moved."""
    first, second = sums
    moved = jax.tree.map(lambda t, b, a: (a - b).astype(t.dtype), first, before, after)
    return (
        jax.tree.map(jnp.add, first, moved),
        jax.tree.map(lambda t, d: t + jnp.square(d), second, moved),
    )


def _moments(sums: Any, before: ModelState, count: int | jax.Array) -> tuple[Any, Any]:
    """Return mean and variance of the states whose moves were summed."""
    first, second = sums
    mean = jax.tree.map(lambda b, t: (b + t / count).astype(b.dtype), before, first)

    def variance(first: jax.Array, second: jax.Array) -> jax.Array:
        return jnp.maximum(second / count - jnp.square(first / count), 0.0)

    return mean, jax.tree.map(variance, first, second)


def _wide_zeros(x: jax.Array) -> jax.Array:
    return jnp.zeros_like(x, np.promote_types(x.dtype, np.float32))


def _split(x: jax.Array, parts: int, unit: int) -> jax.Array:
    """Return [parts, B / parts, ...], unit i going to part i mod parts.

    Dealing units out, rather than cutting the batch into runs, leaves each part evenly
    on the devices that hold the batch, so nothing has to move.
    """
    if x.shape[0] % (parts * unit):
        whole = "" if unit == 1 else f" in units of {unit}"
        raise ValueError(
            f"microbatches must divide the batch; got {parts} parts of {x.shape[0]} "
            f"examples on a device{whole}: choose a divisor"
        )
    units = x.reshape(-1, parts, unit, *x.shape[1:])
    return jnp.swapaxes(units, 0, 1).reshape(parts, -1, *x.shape[1:])


def _nonfinite(tree: Any) -> jax.Array:
    return jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])
