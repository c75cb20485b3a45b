"""Batch normalisation whose span, the examples normalised together, is explicit.

Ioffe and Szegedy (2015) leave open which examples a group is when a batch is spread
over devices or cut into parts, and large-batch results depend on it: groups much
smaller than the batch are the ghost batches of Hoffer et al. (2017). Here a group is
`span` consecutive examples of the global batch, however many devices hold them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.errors import InputError
from lars_jax.models.network import ModelState, Network, Params

BATCH_NORM_MOMENTUM = 0.9
"""Share of the old running statistics that a step keeps."""


class BatchNorm(nn.Module):
    """Batch normalisation of images or vectors, channels last.

    Over the examples of one group g and all pixels, for each channel:

    y = scale * (x - mean_g) / sqrt(var_g + epsilon) + bias

    The running variance is that of the population, over all groups together: the mean
    of the groups' variances plus the variance of their means.

    Attributes:
        span: ghost batch size, consecutive examples normalised together, which must
            divide the batch; None, or one at least as large as the batch: all of it.
        axis_name: mapped axis over which the batch is spread, inside `pmap` or
            `shard_map`; None under `jit`, where arrays are global already.
        epsilon: added to the variance.
        dtype: dtype of the result; statistics are always computed in float32.
        scale_init: initialiser of the scale, float32 [C]; the bias starts at 0.
        affine: whether there are a scale and a bias; without, y is standardised.

    Raises:
        InputError: when called, if `span` does not fit the batch or its devices.

    Reference:
        Ioffe, Szegedy: Batch Normalization, 2015, https://arxiv.org/abs/1502.03167
        Hoffer, Hubara, Soudry: Train longer, generalize better, 2017, Algorithm 1,
        https://arxiv.org/abs/1705.08741

    A batch of 1 and 3 has mean 2 and variance 1, of which a tenth is remembered:

    >>> import jax, jax.numpy as jnp
    >>> norm, x = BatchNorm(epsilon=0.0), jnp.array([[1.0], [3.0]])
    >>> variables = norm.init(jax.random.key(0), x, train=False)
    >>> y, state = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    >>> print(y[:, 0], state["batch_stats"]["mean"])
    [-1.  1.] [0.2]
    """

    span: int | None = None
    axis_name: str | None = None
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    affine: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return `x` [B, ..., C] normalised, in `dtype`."""
        shape = (x.shape[-1],)
        affine: tuple[jax.Array, ...] = ()
        if self.affine:
            scale = self.param("scale", self.scale_init, shape, jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
            affine = scale, bias
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if not train:
            y = _standardise(x, mean.value, var.value, self.epsilon)
            return _affine(y, *affine).astype(self.dtype)

        groups = _grouped(x, self.span, self.axis_name)
        runs = _runs_of_devices(groups.shape[:2], self.span, self.axis_name)
        group_mean, group_var = _statistics(groups, mean.value, self.axis_name, runs)
        y = _standardise(groups, group_mean, group_var, self.epsilon).reshape(x.shape)
        if not self.is_initializing():
            # Devices that all share one group have nothing left to put together.
            apart = None if len(runs) == 1 else self.axis_name
            batch_mean, batch_var = _population(group_mean, group_var, apart)
            mean.value = _running(mean.value, batch_mean)
            var.value = _running(var.value, batch_var)
        # Not on the groups: where one lies on several devices, the gradients of scale
        # and bias would be exchanged once for it and once for the batch.
        return _affine(y, *affine).astype(self.dtype)


def batch_statistics(
    network: Network,
    params: Params,
    model_state: ModelState,
    inputs: jax.Array,
    key: jax.Array | None = None,
) -> ModelState:
    """Return the batch statistics of these inputs alone, under these parameters.

    Running averages lag behind weights that move fast, as in short or large-batch runs.
    Statistics of a few batches under the final weights, put together by
    `merge_statistics`, take their place in evaluation.

    Args:
        network: any network; one without batch normalisation yields `{}`.
        params: its parameters.
        model_state: a state of it, of which only the structure is used.
        inputs: images [B, H, W, C], as in training.
        key: random key, for networks with dropout.

    Returns:
        A state to hand to `network.apply`, in place of the running averages.

    Reference:
        Wu, Johnson: Rethinking "Batch" in BatchNorm, 2021, Section 3.1,
        https://arxiv.org/abs/2105.07576

    >>> import jax, jax.numpy as jnp
    >>> from lars_jax.models import from_linen
    >>> network, x = from_linen(BatchNorm()), jnp.array([[1.0], [3.0]])
    >>> params, state = network.init(jax.random.key(0), x)
    >>> state = batch_statistics(network, params, state, x)
    >>> print(state["batch_stats"]["mean"], state["batch_stats"]["var"])
    [2.] [1.]
    """
    zeros = jax.tree.map(jnp.zeros_like, model_state)
    _, updated = network.apply(params, zeros, inputs, train=True, key=key)
    return jax.tree.map(lambda s: s / (1 - BATCH_NORM_MOMENTUM), updated)


def merge_statistics(states: Sequence[ModelState] | ModelState) -> ModelState:
    """Return the statistics of several equally large batches put together.

    mean = mean of the means; var = mean of the variances + variance of the means.

    Args:
        states: a list or tuple of states, or one state whose leaves have the batches
            stacked on axis 0, as `jax.lax.scan` and `jax.vmap` return them.

    Raises:
        InputError: an empty list.

    Batches with mean 0 and 2 and variance 1 each:

    >>> import jax.numpy as jnp
    >>> one = {"mean": jnp.zeros(1), "var": jnp.ones(1)}
    >>> two = {"mean": jnp.full(1, 2.0), "var": jnp.ones(1)}
    >>> merged = merge_statistics([{"batch_stats": one}, {"batch_stats": two}])
    >>> print(merged["batch_stats"]["mean"], merged["batch_stats"]["var"])
    [1.] [2.]
    """
    if isinstance(states, (list, tuple)):
        if not states:
            raise InputError(
                "statistics are merged from at least one batch; got none: "
                "estimate them on one batch or more"
            )
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def merged(layer: Any) -> Any:
        mean, var = _population(layer["mean"], layer["var"], None)
        return {"mean": mean, "var": var}

    return jax.tree.map(merged, states, is_leaf=_is_statistics)


def merge_running(mean: ModelState, variance: ModelState) -> ModelState:
    """Return the running averages after a batch that was taken in equal parts.

    Every part has moved the averages from where they stood before the batch, by
    1 - momentum times what its own statistics differ. The mean of the parts' averages
    is that of the batch but for one term: the variance of a batch is the mean of the
    parts' variances plus the variance of their means,

        var = mean(var_p) + var(mean_p) / (1 - momentum)

    Args:
        mean: mean of the parts' states.
        variance: variance of the parts' states, of the same structure.

    >>> import jax.numpy as jnp
    >>> mean = {"batch_stats": {"mean": jnp.ones(1), "var": jnp.full(1, 2.0)}}
    >>> spread = {"batch_stats": {"mean": jnp.full(1, 0.01), "var": jnp.zeros(1)}}
    >>> print(merge_running(mean, spread)["batch_stats"]["var"])
    [2.1]
    """

    def merged(mean: Any, variance: Any) -> Any:
        between = variance["mean"] / (1 - BATCH_NORM_MOMENTUM)
        return {"mean": mean["mean"], "var": mean["var"] + between}

    return jax.tree.map(merged, mean, variance, is_leaf=_is_statistics)


def _is_statistics(node: Any) -> bool:
    both = isinstance(node, dict) and node.keys() == {"mean", "var"}
    return both and not isinstance(node["mean"], dict)


def _grouped(x: jax.Array, span: int | None, axis_name: str | None) -> jax.Array:
    """Return `x` as [G, B / G, ..., C], the examples of this device in its groups."""
    batch = x.shape[0]
    if span is None or span >= batch:
        return x[None]
    if span < 1 or batch % span:
        place = "" if axis_name is None else " of a device"
        raise InputError(
            f"the span of batch normalisation must divide the batch{place}; got span "
            f"{span} and {batch} examples: choose a divisor of {batch}, or None"
        )
    return x.reshape(batch // span, span, *x.shape[1:])


def _runs_of_devices(
    shape: tuple[int, ...], span: int | None, axis_name: str | None
) -> list[list[int]]:
    """Return the runs of devices that share a group; none where each has its own."""
    groups, examples = shape
    if axis_name is None or groups > 1 or span == examples:
        return []
    devices = jax.lax.axis_size(axis_name)
    total = devices * examples
    run = devices if span is None or span >= total else span // examples
    if run < devices and (span != run * examples or devices % run):
        raise InputError(
            "a span of batch normalisation that is larger than a device's examples "
            f"must cover whole devices, all alike; got span {span} on {devices} "
            f"devices of {examples} examples: choose a multiple of {examples} that "
            f"divides {total}"
        )
    return [list(range(start, start + run)) for start in range(0, devices, run)]


def _statistics(
    groups: jax.Array, shift: jax.Array, axis_name: str | None, runs: list[list[int]]
) -> tuple[jax.Array, jax.Array]:
    """Return mean and population variance of each group, float32 [G, C].

    One pass and one exchange, by E[d^2] - E[d]^2 with d = x - shift. It cancels when
    the mean of d is large beside its deviation; a shift by the running mean keeps it
    small and changes nothing else.
    """
    axes = tuple(range(1, groups.ndim - 1))
    # Without the barrier to gradients, the state of the last step would get one.
    shift = jax.lax.stop_gradient(shift)
    d = groups.astype(jnp.float32) - shift.reshape((1,) * (groups.ndim - 1) + (-1,))
    moments = jnp.mean(d, axis=axes), jnp.mean(jnp.square(d), axis=axes)
    if axis_name is not None and runs:
        moments = _mean_of_runs(moments, axis_name, runs)
    mean, square = moments
    return mean + shift[None], jnp.maximum(square - jnp.square(mean), 0.0)


def _mean_of_runs(values: Any, axis_name: str, runs: list[list[int]]) -> Any:
    """Return the mean over the run of devices that this one belongs to."""
    if len(runs) == 1:
        return jax.lax.pmean(values, axis_name)
    try:
        return jax.lax.pmean(values, axis_name, axis_index_groups=runs)
    except NotImplementedError:
        # With the checks of `shard_map` on there are no groups of devices. Each run
        # has a row then, to which only its own devices add.
        place = jax.lax.axis_index(axis_name) // len(runs[0])
        mine = jnp.arange(len(runs)) == place

        def mean(value: jax.Array) -> jax.Array:
            own = jnp.expand_dims(mine, tuple(range(1, value.ndim + 1)))
            rows = jax.lax.psum(jnp.where(own, value[None], 0.0), axis_name)
            return rows[place] / len(runs[0])

        return jax.tree.map(mean, values)


def _population(
    mean: jax.Array, var: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """Return mean and variance [C] of equal groups, given theirs [G, C]."""

    def average(value: jax.Array) -> jax.Array:
        local = jnp.mean(value, axis=0)
        return local if axis_name is None else jax.lax.pmean(local, axis_name)

    overall = average(mean)
    return overall, average(var + jnp.square(mean - overall[None]))


def _running(old: jax.Array, new: jax.Array) -> jax.Array:
    return BATCH_NORM_MOMENTUM * old + (1 - BATCH_NORM_MOMENTUM) * new


def _standardise(
    x: jax.Array, mean: jax.Array, var: jax.Array, epsilon: float
) -> jax.Array:
    """Return (x - mean) / sqrt(var + epsilon) in float32, over all middle axes."""
    axes = tuple(range(mean.ndim - 1, x.ndim - 1))
    inverse = jax.lax.rsqrt(var + epsilon)
    centred = x.astype(jnp.float32) - jnp.expand_dims(mean, axes)
    return centred * jnp.expand_dims(inverse, axes)


def _affine(y: jax.Array, *scale_and_bias: jax.Array) -> jax.Array:
    """Return y * scale + bias, or y where there is neither."""
    if not scale_and_bias:
        return y
    scale, bias = scale_and_bias
    broadcast = (1,) * (y.ndim - 1) + (-1,)
    return y * scale.reshape(broadcast) + bias.reshape(broadcast)
