"""One step of a layer-wise optimizer, and its link of a chain, `scale_by_lars`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.optim.layers import (
    Params,
    PerLayer,
    leaf_names,
    register_with_flax,
    require_static,
)
from lars_jax.optim.masks import Mask
from lars_jax.optim.numbers import Scalar, at_step, require_bool, require_number
from lars_jax.optim.trust import Leaf, Rule, Selection, measure
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
    "telemetry",
)
"""Arguments of `lars` that are no numbers: `static_args` of `inject_hyperparams`."""


class ScaleByLarsState(NamedTuple):
    """What the last update measured, by layer, and what the next one needs.

    The four `PerLayer` are None where telemetry was left out; `lars_report` prints
    them as a table.
    """

    count: jax.Array
    """Updates so far, int32; the state has no other count."""
    weight_norm: PerLayer | None
    """||w||."""
    gradient_norm: PerLayer | None
    """||g||, or what stands in its place in the denominator of the variant."""
    trust_ratio: PerLayer | None
    """lambda; after clipping, min(lambda / gamma, 1)."""
    effective_rate: PerLayer | None
    """gamma * lambda: the rate that the layer's direction is multiplied by."""
    inner: optax.OptState
    """Buffers of momentum or of Adam; empty without."""


class Inner(NamedTuple):
    """Momentum or Adam within a step: it is given the count and keeps none."""

    place: Literal["gradient", "direction", "scaled", "moved"]
    """What it is applied to: the gradient before that is measured; the direction before
    the ratio multiplies it; that product; or the product times the rate."""
    init: Callable[[Params], Any]
    update: Callable[[Any, Any, jax.Array], tuple[Any, Any]]


def scale_by_lars(
    trust_coefficient: Scalar = 1e-3,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    eps: Scalar = 0.0,
    *,
    weight_decay_mask: Mask = None,
    trust_ratio_mask: Mask = True,
    variant: str | Variant = "paper",
    learning_rate: optax.ScalarOrSchedule = 1.0,
    stacked_axes: Any = None,
    axis_names: Any = None,
    layer_groups: Any = None,
    telemetry: bool = True,
) -> optax.GradientTransformation:
    """Turn gradients g into lambda * (g + beta * w), with lambda of Equation 6.

    lambda = eta * ||w|| / (||g|| + beta * ||w|| + eps)

    Norms are float32 or wider. In float32 an accelerator has them right from 1e-30 to
    1e30. A CPU takes plain sums of squares: right to six digits for norms up to 1e19 of
    entries whose root mean square is above 1e-15, to a factor of 1.5 down to 2e-19, and
    zero below 1e-19. Zero gives lambda = 1. A norm above 1e19 is infinite there and has
    lambda = 0, so that the layer stands still; no lambda exceeds 2^96. NaN in weights
    or gradient stays NaN for the whole layer.

    Args:
        trust_coefficient: eta, dimensionless; how far a layer may move in one step,
            relative to its own norm. May be traced.
        weight_decay: beta, in units of gradient over weight, a number or a schedule of
            the step. May be traced.
        eps: as of `lars`.
        weight_decay_mask: as of `lars`.
        trust_ratio_mask: as of `lars`.
        variant: as of `lars`. Its `rates` are the business of the chain; everything
            else is decided here.
        learning_rate: gamma, a number or a schedule. Not applied: a clip compares with
            it, and the state's effective rate is a multiple of it.
        stacked_axes: as of `lars`.
        axis_names: as of `lars`.
        layer_groups: as of `lars`.
        telemetry: as of `lars`.

    Returns:
        A transformation whose updates have the dtype of the gradients. Under
        `optax.inject_hyperparams` it needs `static_args`: those of `STATIC_ARGUMENTS`
        that it takes.

    Raises:
        ValueError: `update` was called without `params`, or with gradients of other
            shapes; a leaf is of integers; an unknown variant; what is no number from
            zero on, or a schedule that returns no scalar; an axis that a leaf does not
            have; an array for one of `STATIC_ARGUMENTS`.

    Reference:
        You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017,
        Section 4, https://arxiv.org/abs/1708.03888

    Example, with ||w|| = 5, ||g|| = 1 and beta = 0.5: lambda = 0.001 * 5 / (1 + 2.5).

    >>> import jax.numpy as jnp
    >>> w, g = {"fc": jnp.array([3.0, 4.0])}, {"fc": jnp.array([-1.0, 0.0])}
    >>> tx = scale_by_lars(weight_decay=0.5)
    >>> update, state = tx.update(g, tx.init(w), w)
    >>> print(f"{state.trust_ratio['fc']:.6f} {update['fc'][1]:.6f}")
    0.001429 0.002857
    """
    return layerwise(
        Selection(
            trust_ratio_mask, weight_decay_mask, stacked_axes, axis_names, layer_groups
        ),
        variant=variant,
        learning_rate=learning_rate,
        trust_coefficient=trust_coefficient,
        weight_decay=weight_decay,
        eps=eps,
        telemetry=telemetry,
    )


def layerwise(
    selection: Selection,
    *,
    variant: str | Variant,
    learning_rate: optax.ScalarOrSchedule,
    trust_coefficient: Scalar,
    weight_decay: optax.ScalarOrSchedule,
    eps: Scalar,
    telemetry: bool = True,
    apply_rate: bool = False,
    inner: Inner | None = None,
) -> optax.GradientTransformation:
    """Return the one step that `scale_by_lars`, `lars` and `lamb` are.

    It takes what `scale_by_lars` does, and may multiply by -gamma, too, and have
    momentum or Adam at a place within.
    """
    require_static(telemetry=telemetry)
    require_bool("telemetry", telemetry)
    require_number("learning_rate", learning_rate, schedule=True)
    require_number("trust_coefficient", trust_coefficient)
    require_number("weight_decay", weight_decay, schedule=True)
    require_number("eps", eps)
    choices = resolve_variant(variant)
    if selection.weight_decay_mask is None and not choices.decay_excluded:
        adapted = selection.trust_ratio_mask
        selection = replace(selection, weight_decay_mask=adapted)

    def init(params: Params) -> Any:
        _require_floats(params)
        register_with_flax()
        names = selection.names(params)
        # Four arrays and not one four times: a buffer can be donated only once.
        empty = [
            PerLayer(jnp.zeros(len(names), jnp.float32), names) if telemetry else None
            for _ in range(4)
        ]
        buffers = optax.EmptyState() if inner is None else inner.init(params)
        return ScaleByLarsState._make((jnp.zeros((), jnp.int32), *empty, buffers))

    def update(
        updates: Any, state: Any, params: Params | None = None, **extra: Any
    ) -> tuple[Any, Any]:
        del extra
        _check(state, params)
        count, *known, buffers = state
        structure = jax.tree.structure(params)
        gamma = at_step("learning_rate", learning_rate, count)
        beta = at_step("weight_decay", weight_decay, count)
        rule = Rule(choices, trust_coefficient, beta, eps, gamma)

        def passed(place: str, values: list[Any]) -> list[Any]:
            nonlocal buffers
            if inner is None or inner.place != place:
                return values
            tree, buffers = inner.update(structure.unflatten(values), buffers, count)
            return structure.flatten_up_to(tree)

        leaves = given = selection.leaves(params, updates)
        if choices.denominator == "momentum":
            leaves = _replaced(leaves, [rule.direction(leaf, None) for leaf in leaves])
            rule = replace(rule, weight_decay=0.0)
        leaves = _replaced(leaves, passed("gradient", [x.gradient for x in leaves]))
        # Where nothing comes between, rate and ratio are multiplied once for a layer.
        between = inner is not None and inner.place == "scaled"
        last = -gamma if apply_rate else 1.0
        first, last = (1.0, last) if between else (last, 1.0)
        found = measure(leaves, rule, factor=first, all_leaves=telemetry)
        moved = passed("direction", list(map(rule.direction, leaves, found.quotients)))
        moved = list(
            map(partial(_scaled, otherwise=first), leaves, moved, found.factors)
        )
        moved = passed("scaled", moved)
        moved = passed("moved", [_times(last, x) for x in moved])
        moved = list(map(_narrowed, moved, given))
        if telemetry:
            names = known[0].names or selection.names(params)
            rates = jnp.asarray(gamma, jnp.float32) * found.columns[-1]
            known = [PerLayer(x, names) for x in (*found.columns, rates)]
        after = optax.safe_increment(count), *known, buffers
        return structure.unflatten(moved), ScaleByLarsState._make(after)

    return optax.GradientTransformationExtraArgs(init, update)


def _check(state: Any, params: Params | None) -> None:
    if params is None:
        raise ValueError(
            "LARS needs the parameters to measure their norms; got params=None: "
            "call tx.update(gradients, state, params)"
        )
    if not isinstance(state, ScaleByLarsState):
        raise ValueError(
            "LARS needs the state that its own init returned; got "
            f"{type(state).__name__}: call tx.init(params)"
        )


def _replaced(leaves: list[Leaf], gradients: list[Any]) -> list[Leaf]:
    return list(map(lambda x, g: replace(x, gradient=g), leaves, gradients))


def _times(factor: Any, direction: Any) -> Any:
    if direction is None or isinstance(factor, float) and factor == 1.0:
        return direction
    return jnp.asarray(factor).astype(direction.dtype) * direction


def _scaled(
    leaf: Leaf, direction: Any, factor: jax.Array | None, otherwise: Any
) -> Any:
    """Return the direction times the ratio and what is multiplied with it."""
    if factor is None or not leaf.adapted:
        return _times(otherwise, direction)
    return _times(leaf.broadcast_to_leaf(factor), direction)


def _narrowed(moved: Any, leaf: Leaf) -> Any:
    """Return an update in the dtype of the gradient: a step rounds once, at its end."""
    if moved is None:
        return None
    dtype = leaf.gradient.dtype
    # Decay of complex weights has an imaginary part, whatever the gradient has.
    if jnp.iscomplexobj(moved):
        dtype = np.promote_types(dtype, np.complex64)
    return moved.astype(dtype)


def _require_floats(params: Params) -> None:
    for name, leaf in zip(leaf_names(params), jax.tree.leaves(params), strict=True):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ValueError(
                f"LARS updates floating or complex leaves; got {jnp.result_type(leaf)} "
                f"at {name or 'the root'!r}: keep it beside the parameters, as state"
            )
