"""Layer-wise Adaptive Rate Scaling: Algorithm 1 of arXiv 1708.03888.

A layer is a leaf of the parameter tree, so weights and biases are scaled apart, as in
Table 2. What the paper leaves open is decided here as follows. A leaf whose weights or
gradient have norm zero takes lambda = 1, as the authors' own code does. A leaf outside
`trust_ratio_mask` takes lambda = 1; one outside `weight_decay_mask` takes beta = 0, in
the step and in the denominator. Norms and ratios are float32 or wider, whatever the
dtype of the leaf. Other published decisions are `VARIANTS`.
"""

from typing import Any, Literal

import optax

from lars_jax.optim.masks import Mask, exclude_vectors
from lars_jax.optim.momentum import trace
from lars_jax.optim.numbers import Scalar, require_number
from lars_jax.optim.scaling import Inner, layerwise
from lars_jax.optim.trust import Selection
from lars_jax.optim.variants import Variant, resolve_variant


def lars(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    trust_coefficient: Scalar = 0.001,
    eps: Scalar = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: Scalar | None = 0.9,
    nesterov: bool = False,
    *,
    variant: str | Variant = "paper",
    stacked_axes: Any = None,
    axis_names: Any = None,
    layer_groups: Any = None,
    accumulator_dtype: Any | None = None,
    telemetry: bool = True,
) -> optax.GradientTransformation:
    """SGD with LARS: Algorithm 1, the step of `scale_by_lars` with rate and momentum.

    v <- m * v + gamma_t * lambda * (g + beta * w);  w <- w - v

    The positional arguments are those of `optax.lars`, in its order. `optax.lars`
    divides by ||g + beta * w|| instead, and so is another optimizer wherever beta > 0;
    `variant="optax"` gives it.

    Args:
        learning_rate: gamma, a number or a schedule of the step. Without momentum a
            step moves a leaf by at most gamma * eta of its norm, so with eta = 0.001 a
            useful gamma is of order 1 to 30, not the 0.1 of SGD.
        weight_decay: beta, a number or a schedule of the step.
        weight_decay_mask: leaves that decay: a bool, a tree (prefix) of bools, or a
            function of the parameters such as `path_mask` and `exclude` return. What is
            given rules alone. None, as `optax.lars` may be told, leaves it to the
            variant: all leaves, or under "mlperf_scaled" and "byol" the adapted ones.
        trust_coefficient: eta.
        eps: added to the denominator of lambda, beside the variant's own; the paper has
            none.
        trust_ratio_mask: leaves that are adapted; the others take the plain gamma.
        momentum: m, a number, which may be traced, or None to keep no buffer.
        nesterov: look ahead by one momentum step.
        variant: a name of `VARIANTS` or a `Variant` with choices of your own.
        stacked_axes: axis that counts layers in leaves that stack several (`nn.scan`,
            ensembles): an int, None, or a tree (prefix) of these; norms and ratios are
            then those of the slices.
        axis_names: inside `shard_map` or `pmap`, mesh axes over which leaves are split:
            a name, a tuple of names, a `PartitionSpec`, None or () for none, or a tree
            (prefix) of these. Under `jit` norms are those of whole arrays without it.
        layer_groups: labels of leaves that make one layer together, for instance
            `group_by_module`; a tree (prefix) of labels, or a function.
        accumulator_dtype: dtype of the momentum buffer; None: that of the parameter.
        telemetry: keep norms, ratios and effective rates in the state.

    Returns:
        A transformation to be used like any other of Optax, whose state is one
        `ScaleByLarsState`. Updates have the dtype of the gradients; the state has one
        structure for constant and scheduled rates. To put numbers into the state, say
        `optax.inject_hyperparams(lars, static_args=STATIC_ARGUMENTS,
        hyperparam_dtype=jnp.float32)`; without the dtype bfloat16 leaves have them
        rounded to three digits.

    Raises:
        ValueError: as `scale_by_lars` does.

    Reference:
        Algorithm 1 of https://arxiv.org/abs/1708.03888

    One step from w = (3, 4) moves by gamma * lambda * (g + beta * w):

    >>> import jax.numpy as jnp, optax
    >>> w, g = jnp.array([3.0, 4.0]), jnp.array([-1.0, 0.0])
    >>> tx = lars(learning_rate=10.0, weight_decay=0.5)
    >>> updates, _ = tx.update(g, tx.init(w), w)
    >>> print(optax.apply_updates(w, updates))
    [2.9928572 3.9714286]
    """
    choices = resolve_variant(variant)
    return layerwise(
        Selection(
            trust_ratio_mask, weight_decay_mask, stacked_axes, axis_names, layer_groups
        ),
        variant=choices,
        learning_rate=learning_rate,
        trust_coefficient=trust_coefficient,
        weight_decay=weight_decay,
        eps=eps,
        telemetry=telemetry,
        apply_rate=True,
        inner=_velocity(choices, momentum, nesterov, accumulator_dtype),
    )


def lars_mlperf(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    *,
    trust_coefficient: Scalar = 0.001,
    eps: Scalar = 0.0,
    momentum: Scalar | None = 0.9,
    nesterov: bool = False,
    stacked_axes: Any = None,
    axis_names: Any = None,
    layer_groups: Any = None,
    accumulator_dtype: Any | None = None,
    telemetry: bool = True,
) -> optax.GradientTransformation:
    """Return `lars` as every record run has used it: matrices only.

    Paper arithmetic; leaves of rank one and less, which biases and the parameters of
    normalisation are, are neither adapted nor decayed. An axis of `stacked_axes` does
    not count for the rank. The arguments are those of `lars`, masks and variant aside.

    Reference:
        MLPerf Training v0.7, ResNet-50, reference and JAX submissions: gamma 25 to 31
        and beta 1e-4 to 2e-4 at batches of 16K to 32K.

    >>> import jax.numpy as jnp
    >>> params = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)}
    >>> tx = lars_mlperf(1.0, momentum=None)
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> print(updates["bias"], updates["kernel"][0])
    [-1. -1.] [-0.002 -0.002]
    """
    matrices = exclude_vectors(stacked_axes)
    return lars(
        learning_rate,
        weight_decay,
        weight_decay_mask=matrices,
        trust_coefficient=trust_coefficient,
        eps=eps,
        trust_ratio_mask=matrices,
        momentum=momentum,
        nesterov=nesterov,
        stacked_axes=stacked_axes,
        axis_names=axis_names,
        layer_groups=layer_groups,
        accumulator_dtype=accumulator_dtype,
        telemetry=telemetry,
    )


_PLACES: dict[str, Literal["direction", "scaled", "moved"]] = {
    "inside": "moved",
    "local_inside": "scaled",
    "outside": "direction",
}


def _velocity(
    choices: Variant,
    momentum: Scalar | None,
    nesterov: bool,
    accumulator_dtype: Any | None,
) -> Inner | None:
    """Return the momentum where the variant has it in the step, None without."""
    decay = 0.0 if momentum is None else momentum
    require_number("momentum", decay, below=1)
    link = trace(decay, nesterov=nesterov, accumulator_dtype=accumulator_dtype)
    if momentum is None:
        return None
    measured = choices.denominator == "momentum"
    place = "gradient" if measured else _PLACES[choices.rates]
    return Inner(place, link.init, lambda u, state, _: link.update(u, state))
