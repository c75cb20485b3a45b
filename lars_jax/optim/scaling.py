"""The link of a chain that turns gradients into layer-wise scaled directions."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.optim.layers import leaf_names, resolve_stacked_axes
from lars_jax.optim.masks import Mask, Params, refuse_schedules
from lars_jax.optim.trust import (
    Rule,
    Scalar,
    Selection,
    direction,
    measure,
    num_layers,
    scaled,
)
from lars_jax.optim.variants import Variant, resolve_variant

STATIC_ARGUMENTS = (
    "weight_decay_mask",
    "trust_ratio_mask",
    "nesterov",
    "variant",
    "stacked_axes",
    "axis_names",
    "layer_groups",
    "accumulator_dtype",
    "norms",
    "telemetry",
)
"""Arguments of `lars` that are no numbers: `static_args` of `inject_hyperparams`."""


class ScaleByLarsState(NamedTuple):
    """What the last update measured: one entry for each layer, float32 [L].

    Vectors and not trees, because hundreds of scalars cost a step more to hand over
    than to compute; `layer_names(params)` names the entries and `lars_report` prints
    them. The four are None where telemetry was left out.
    """

    count: jax.Array
    """Updates so far, int32."""
    weight_norm: jax.Array | None
    """||w||."""
    gradient_norm: jax.Array | None
    """||g||, or what stands in its place in the denominator of the variant."""
    trust_ratio: jax.Array | None
    """lambda; after clipping, min(lambda / gamma, 1)."""
    effective_rate: jax.Array | None
    """gamma * lambda: the rate that the layer's direction is multiplied by."""
    inner: optax.OptState
    """State of the transformation between direction and ratio, usually empty."""


def scale_by_lars(
    trust_coefficient: Scalar = 1e-3,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    eps: Scalar = 0.0,
    *,
    weight_decay_mask: Mask = True,
    trust_ratio_mask: Mask = True,
    variant: str | Variant = "paper",
    learning_rate: optax.ScalarOrSchedule = 1.0,
    stacked_axes: Any = None,
    axis_names: Any = None,
    layer_groups: Any = None,
    norms: Literal["scaled", "plain"] = "scaled",
    telemetry: bool = True,
    inner: optax.GradientTransformation | None = None,
    wide_updates: bool = False,
) -> optax.GradientTransformation:
    """Turn gradients g into lambda * (g + beta * w), with lambda of Equation 6.

    lambda = eta * ||w|| / (||g|| + beta * ||w|| + eps)

    Args:
        trust_coefficient: eta, dimensionless; how far a layer may move in one step,
            relative to its own norm. May be traced.
        weight_decay: beta, in units of gradient over weight, a number or a schedule of
            the step. May be traced.
        eps: added to the denominator; the paper has none.
        weight_decay_mask: leaves that decay: a bool, a tree of bools, or a function of
            the parameters that returns one (see `path_mask`).
        trust_ratio_mask: leaves that are adapted; the others take lambda = 1.
        variant: a name of `VARIANTS` or a `Variant`. Its `rates` are the business of
            the chain; everything else is decided here.
        learning_rate: gamma, a number or a schedule. Not applied: a clip compares with
            it, and the state's effective rate is a multiple of it.
        stacked_axes: axis that counts layers in leaves that stack several: an int, None
            or a tree (prefix) of these; norms and ratios are then those of the slices.
        axis_names: inside `shard_map` or `pmap`, mesh axes over which leaves are split:
            a name, a tuple of names, a `PartitionSpec`, None, or a tree (prefix) of
            these. Under `jit` norms are those of whole arrays without it.
        layer_groups: labels of leaves that make one layer together, for instance
            `group_by_module`; a tree (prefix) of labels, or a function.
        norms: "scaled" keeps norms right from 1e-30 to 1e30 in float32; "plain" saves
            that check and is right between about 1e-18 and 1e18. The check cannot tell
            a sum that vanished from a leaf of zeros, which costs every step a second
            pass over that leaf, or over all where some are stacked, sharded or grouped:
            give a frozen leaf None for its gradient.
        telemetry: keep norms, ratios and effective rates in the state.
        inner: a transformation of the direction, before the ratio multiplies it; the
            ratio is still measured on the gradient.
        wide_updates: leave updates in float32 or wider, for links that follow in a
            chain of low precision; `lars` does, and narrows at its end.

    Returns:
        A transformation whose updates have the dtype of the gradients.

    Raises:
        ValueError: `update` was called without `params`, or with gradients of other
            shapes; a leaf is of integers; an unknown variant; a negative number; an
            axis that a leaf does not have; `inject_hyperparams` has taken a mask
            function for a schedule.

    Reference:
        You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017,
        Section 4, https://arxiv.org/abs/1708.03888

    Example, with ||w|| = 5, ||g|| = 1 and beta = 0.5: lambda = 0.001 * 5 / (1 + 2.5).

    >>> import jax.numpy as jnp
    >>> w, g = jnp.array([3.0, 4.0]), jnp.array([-1.0, 0.0])
    >>> tx = scale_by_lars(weight_decay=0.5)
    >>> update, state = tx.update(g, tx.init(w), w)
    >>> print(f"{state.trust_ratio[0]:.6f} {update[1]:.6f}")
    0.001429 0.002857
    """
    refuse_schedules(STATIC_ARGUMENTS)
    require_number("trust_coefficient", trust_coefficient)
    require_number("weight_decay", weight_decay)
    require_number("eps", eps)
    if norms not in ("scaled", "plain"):
        raise ValueError(f"norms must be 'scaled' or 'plain'; got {norms!r}")
    choices = resolve_variant(variant)
    selection = Selection(
        trust_ratio_mask,
        weight_decay_mask,
        choices.decay_excluded,
        stacked_axes,
        axis_names,
        layer_groups,
    )
    between = optax.with_extra_args_support(inner or optax.identity())

    def init(params: Params) -> Any:
        _require_floats(params)
        axes = resolve_stacked_axes(stacked_axes, params)
        rows = sum(map(num_layers, jax.tree.leaves(params), axes))
        count = jnp.zeros((), jnp.int32)
        # Four arrays and not one four times: a buffer can be donated only once.
        empty = [jnp.zeros(rows, jnp.float32) if telemetry else None for _ in range(4)]
        return ScaleByLarsState._make((count, *empty, between.init(params)))

    def update(
        updates: Any, state: optax.OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Any, Any]:
        require_params(params)
        count, *_, inner_state = _own(state)
        structure = jax.tree.structure(params)
        gamma, beta = (at_step(x, count) for x in (learning_rate, weight_decay))
        rule = Rule(choices, trust_coefficient, beta, eps, gamma)
        leaves = selection.leaves(params, updates)
        layers, known = measure(
            leaves, rule, guard=norms == "scaled", all_leaves=telemetry
        )
        directions = map(direction, leaves, layers, [rule] * len(leaves))
        moved, inner_state = between.update(
            structure.unflatten(list(directions)), inner_state, params, **extra
        )
        moved = map(scaled, leaves, structure.flatten_up_to(moved), layers)
        columns = [*known, jnp.asarray(gamma, jnp.float32) * known[-1]]
        kept = columns if telemetry else [None] * 4
        after = optax.safe_increment(count), *kept, inner_state
        return structure.unflatten(list(moved)), ScaleByLarsState._make(after)

    scale = optax.GradientTransformationExtraArgs(init, update)
    return scale if wide_updates else in_gradient_dtype(scale)


def in_gradient_dtype(
    inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Return the updates of a transformation in the dtype of the gradients.

    Put around a whole chain, so that its links compute in float32 and round once.
    """

    def narrow(update: jax.Array, gradient: Any) -> jax.Array:
        dtype = jnp.result_type(gradient)
        # Decay of complex weights has an imaginary part, whatever the gradient has.
        if jnp.iscomplexobj(update):
            dtype = np.promote_types(dtype, np.complex64)
        return update.astype(dtype)

    tolerant = optax.with_extra_args_support(inner)

    def update(
        updates: Any, state: optax.OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Any, optax.OptState]:
        moved, state = tolerant.update(updates, state, params, **extra)
        return jax.tree.map(narrow, moved, updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def at_step(value: optax.ScalarOrSchedule, count: Any) -> Any:
    """Return a number, or what a schedule gives for a step."""
    return value(count) if callable(value) else value


def negative_rate(learning_rate: optax.ScalarOrSchedule) -> optax.Schedule:
    """Return the schedule that turns a direction into a step down.

    A constant is a schedule too, so that the state has the same structure for both and
    a checkpoint of the one restores into the other.
    """
    return lambda count: -jnp.asarray(at_step(learning_rate, count))


def require_number(name: str, value: Any, *, below: float = float("inf")) -> None:
    """Refuse what is no number from zero on; traced values are not looked at."""
    if callable(value) or isinstance(value, jax.Array | np.ndarray):
        return
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value < below:
        bound = "" if below == float("inf") else f" and below {below:g}"
        raise ValueError(
            f"{name} must be a finite number, at least 0{bound}; got {value!r}: mend it"
        )


def require_params(params: Params | None) -> None:
    """Refuse an update without the parameters."""
    if params is None:
        raise ValueError(
            "LARS needs the parameters to measure their norms; got params=None: "
            "call tx.update(gradients, state, params)"
        )


def _own(state: Any) -> ScaleByLarsState:
    if isinstance(state, ScaleByLarsState):
        return state
    raise ValueError(
        "LARS needs the state that its own init returned; got "
        f"{type(state).__name__}: call tx.init(params)"
    )


def _require_floats(params: Params) -> None:
    for name, leaf in zip(leaf_names(params), jax.tree.leaves(params), strict=True):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ValueError(
                f"LARS updates floating or complex leaves; got {jnp.result_type(leaf)} "
                f"at {name or 'the root'!r}: leave it out with optax.masked"
            )
