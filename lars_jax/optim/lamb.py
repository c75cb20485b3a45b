"""LAMB: Optax's Adam with the masks and the trust ratio of `lars`, for comparisons."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lars_jax.optim.masks import Mask, resolve_mask
from lars_jax.optim.scaling import negative_rate, require_params, scale_by_lars
from lars_jax.optim.trust import Scalar
from lars_jax.optim.variants import Variant


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = True,
    trust_ratio_mask: Mask = True,
    stacked_axes: Any = None,
    axis_names: Any = None,
    layer_groups: Any = None,
) -> optax.GradientTransformation:
    """Adam with a trust ratio on each layer, the numbers of `optax.lamb`.

    w <- w - gamma * ||w|| / ||a + beta w|| * (a + beta w),  a Adam's direction

    `optax.lamb` has a mask for the decay only; here the ratio has one too, and layers
    may be stacked, sharded or grouped, so that LAMB and LARS can be compared on the
    same terms. The state tells norms and ratios as that of `lars` does, with
    ||a + beta w|| for the gradient norm.

    Args:
        learning_rate: gamma, a number or a schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment.
        weight_decay: beta, a number or a schedule.
        weight_decay_mask: leaves that decay.
        trust_ratio_mask: leaves that are adapted.
        stacked_axes: as `lars` takes it.
        axis_names: as `lars` takes it.
        layer_groups: as `lars` takes it.

    Returns:
        A transformation. The moments are Optax's, whose dtype is the wider of that of
        parameters and gradients: with narrower parameters it changes in the first step.

    Raises:
        ValueError: as `scale_by_lars` does.

    Reference:
        You et al.: Large Batch Optimization for Deep Learning, 2019,
        https://arxiv.org/abs/1904.00962

    >>> import jax.numpy as jnp
    >>> w = jnp.array([3.0, 4.0])
    >>> tx = lamb(0.1)
    >>> updates, _ = tx.update(jnp.ones(2), tx.init(w), w)
    >>> print(updates.round(4))
    [-0.3536 -0.3536]
    """
    chain = optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),  # pyright: ignore[reportArgumentType]
        optax.add_decayed_weights(
            weight_decay, lambda params: resolve_mask(weight_decay_mask, params)
        ),
        scale_by_lars(
            1.0,
            trust_ratio_mask=trust_ratio_mask,
            variant=Variant(denominator="gradient"),
            learning_rate=learning_rate,
            stacked_axes=stacked_axes,
            axis_names=axis_names,
            layer_groups=layer_groups,
        ),
        optax.scale_by_schedule(negative_rate(learning_rate)),
    )

    def update(
        updates: Any, state: Any, params: Any | None = None, **extra: Any
    ) -> tuple[Any, Any]:
        require_params(params)
        # Adam keeps moments for every parameter; those of a frozen one stay zero.
        whole = jax.tree.map(_filled, params, updates)
        # Optax's Adam raises a float to an integer power, which JAX's strict promotion
        # refuses.
        with jax.numpy_dtype_promotion("standard"):
            moved, state = chain.update(whole, state, params, **extra)
        return jax.tree.map(_emptied, params, updates, moved), state

    return optax.GradientTransformationExtraArgs(chain.init, update)


def _filled(parameter: Any, gradient: Any) -> Any:
    return jnp.zeros_like(parameter) if gradient is None else gradient


def _emptied(parameter: Any, gradient: Any, update: Any) -> Any:
    del parameter
    return None if gradient is None else update
