"""Layer-wise Adaptive Rate Scaling: Equation 6 and Algorithm 1 of arXiv 1708.03888.

For each layer with weights w, gradient g and momentum buffer v, at global rate gamma_t:

    lambda = eta * ||w|| / (||g|| + beta * ||w||)                       (Equation 6)
    v     <- m * v + gamma_t * lambda * (g + beta * w)                  (Algorithm 1)
    w     <- w - v

A layer is a leaf of the parameter tree, so weights and biases are scaled apart, as in
Table 2. Both rates, global and local, are inside the momentum.

What the paper leaves open is decided here as follows. A leaf whose weights or gradient
have norm zero takes lambda = 1, as the authors' own code does. A leaf outside
`trust_ratio_mask` takes lambda = 1; one outside `weight_decay_mask` takes beta = 0, in
the step and in the denominator. Norms and ratios are float32 or wider, whatever the
dtype of the leaf.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.optim.masks import Mask, Params, resolve_mask
from lars_jax.optim.telemetry import at_least_float32, leaf_norm

Scalar = float | jax.Array


class ScaleByLarsState(NamedTuple):
    """What the last update measured, one float32 scalar for each leaf.

    Kept in the state because it costs nothing there and every plot of the paper needs
    it; read it with `lars_jax.optim.telemetry`.
    """

    weight_norm: Any
    gradient_norm: Any
    trust_ratio: Any


class _Measured(NamedTuple):
    update: jax.Array | None
    weight_norm: jax.Array
    gradient_norm: jax.Array
    trust_ratio: jax.Array


def scale_by_lars(
    trust_coefficient: Scalar = 1e-3,
    weight_decay: Scalar = 0.0,
    eps: Scalar = 0.0,
    *,
    weight_decay_mask: Mask = True,
    trust_ratio_mask: Mask = True,
) -> optax.GradientTransformation:
    """Turn gradients g into lambda * (g + beta * w), with lambda of Equation 6.

    lambda = eta * ||w|| / (||g|| + beta * ||w|| + eps)

    Args:
        trust_coefficient: eta, dimensionless; how far a layer may move in one step,
            relative to its own norm. May be traced.
        weight_decay: beta, in units of gradient over weight. May be traced.
        eps: added to the denominator; the paper has none.
        weight_decay_mask: leaves that decay: a bool, a tree of bools, or a function of
            the parameters that returns one (see `path_mask`).
        trust_ratio_mask: leaves that are adapted; the others take lambda = 1.

    Returns:
        A transformation whose updates have the dtype of the gradients and whose state
        holds ||w||, ||g|| and lambda of every leaf, in float32.

    Raises:
        ValueError: `update` was called without `params`.

    Reference:
        You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017,
        Section 4, https://arxiv.org/abs/1708.03888

    Example, with ||w|| = 5, ||g|| = 1 and beta = 0.5: lambda = 0.001 * 5 / (1 + 2.5).

    >>> import jax.numpy as jnp
    >>> w, g = jnp.array([3.0, 4.0]), jnp.array([-1.0, 0.0])
    >>> tx = scale_by_lars(weight_decay=0.5)
    >>> update, state = tx.update(g, tx.init(w), w)
    >>> print(f"{state.trust_ratio:.6f} {update[1]:.6f}")
    0.001429 0.002857
    """

    def init(params: Params) -> ScaleByLarsState:
        zeros = jax.tree.map(lambda _: jnp.zeros((), jnp.float32), params)
        return ScaleByLarsState(zeros, zeros, zeros)

    def update(
        updates: Any, state: optax.OptState, params: Params | None = None
    ) -> tuple[Any, ScaleByLarsState]:
        del state
        if params is None:
            raise ValueError(
                "LARS needs the parameters to measure their norms; got params=None: "
                "call tx.update(gradients, state, params)"
            )

        def scale(w: jax.Array, g: jax.Array | None, adapt: bool, decay: bool):
            beta = weight_decay if decay else 0.0
            return _scale_leaf(
                w, g, eta=trust_coefficient, beta=beta, eps=eps, adapt=adapt
            )

        measured = jax.tree.map(
            scale,
            params,
            updates,
            resolve_mask(trust_ratio_mask, params),
            resolve_mask(weight_decay_mask, params),
        )
        scaled, *norms = _transpose(measured)
        return scaled, ScaleByLarsState(*norms)

    return optax.GradientTransformation(init, update)


def lars(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: Scalar = 0.0,
    weight_decay_mask: Mask = True,
    trust_coefficient: Scalar = 1e-3,
    eps: Scalar = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: Scalar = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """SGD with LARS: Algorithm 1, a chain of `scale_by_lars` and plain Optax links.

    v <- m * v + gamma_t * lambda * (g + beta * w);  w <- w - v

    The arguments stand in the order of `optax.lars`, which divides by ||g + beta * w||
    instead and so is another optimizer wherever beta > 0.

    Args:
        learning_rate: gamma, a number or a schedule of the step. Without momentum a
            step moves a leaf by at most gamma * eta of its norm, so with eta = 0.001 a
            useful gamma is of order 1 to 30, not the 0.1 of SGD.
        weight_decay: beta.
        weight_decay_mask: leaves that decay.
        trust_coefficient: eta.
        eps: added to the denominator of lambda.
        trust_ratio_mask: leaves that are adapted; the others take the plain gamma.
        momentum: m.
        nesterov: look ahead by one momentum step.

    Returns:
        A transformation to be used like any other of Optax.

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
    return optax.chain(
        scale_by_lars(
            trust_coefficient,
            weight_decay,
            eps,
            weight_decay_mask=weight_decay_mask,
            trust_ratio_mask=trust_ratio_mask,
        ),
        optax.scale_by_learning_rate(learning_rate),
        optax.trace(decay=momentum, nesterov=nesterov),  # pyright: ignore[reportArgumentType]
    )


def _scale_leaf(
    w: jax.Array,
    g: jax.Array | None,
    *,
    eta: Scalar,
    beta: Scalar,
    eps: Scalar,
    adapt: bool,
) -> _Measured:
    weight_norm = leaf_norm(w)
    if g is None:
        zero = jnp.zeros((), jnp.float32)
        return _Measured(None, weight_norm.astype(jnp.float32), zero, zero)
    gradient_norm = leaf_norm(g)
    real = np.promote_types(weight_norm.dtype, gradient_norm.dtype)
    eta, beta, eps = (jnp.asarray(value, real) for value in (eta, beta, eps))
    weight_norm, gradient_norm = weight_norm.astype(real), gradient_norm.astype(real)
    ratio = jnp.ones((), real)
    if adapt:
        measurable = (weight_norm > 0) & (gradient_norm > 0)
        denominator = gradient_norm + beta * weight_norm + eps
        # Dividing by one where the branch is not taken keeps gradients through an
        # update with a zero leaf from becoming NaN.
        quotient = eta * weight_norm / jnp.where(measurable, denominator, 1.0)
        ratio = jnp.where(measurable, quotient, ratio)
    wide = np.promote_types(at_least_float32(g.dtype), real)
    direction = g.astype(wide) + beta.astype(wide) * w.astype(wide)
    update = (ratio.astype(wide) * direction).astype(g.dtype)
    kept = (norm.astype(jnp.float32) for norm in (weight_norm, gradient_norm, ratio))
    return _Measured(update, *kept)


def _transpose(measured: Any) -> list[Any]:
    """Turn a tree of `_Measured` into one tree for each of its fields."""
    return [
        jax.tree.map(
            lambda leaf, field=field: getattr(leaf, field),
            measured,
            is_leaf=lambda leaf: isinstance(leaf, _Measured),
        )
        for field in _Measured._fields
    ]
