"""LAMB: Optax's Adam with the masks and the trust ratio of `lars`, for comparisons."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lars_jax.optim.masks import Mask, resolve_mask
from lars_jax.optim.scaling import scale_by_lars
from lars_jax.optim.variants import Variant

Scalar = float | jax.Array


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: Scalar = 0.0,
    weight_decay_mask: Mask = True,
    trust_ratio_mask: Mask = True,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
) -> optax.GradientTransformation:
    """Adam with a trust ratio on each layer, the numbers of `optax.lamb`.

    w <- w - gamma * ||w|| / ||a + beta w|| * (a + beta w),  a Adam's direction

    `optax.lamb` has a mask for the decay only; here the ratio has one too, so that LAMB
    and LARS can be compared with the same leaves left out, and the state tells norms
    and ratios as that of `lars` does, with ||a + beta w|| for the gradient norm.

    Args:
        learning_rate: gamma, a number or a schedule.
        weight_decay: beta.
        weight_decay_mask: leaves that decay.
        trust_ratio_mask: leaves that are adapted.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment.

    Raises:
        ValueError: `optax.inject_hyperparams` took a mask function for a schedule.

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

    def tree(mask: Mask) -> Any:
        return lambda params: resolve_mask(mask, params)

    def rate(count: Any) -> Any:
        value = learning_rate(count) if callable(learning_rate) else learning_rate
        return -jnp.asarray(value)

    chain = optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),  # pyright: ignore[reportArgumentType]
        optax.add_decayed_weights(weight_decay, tree(weight_decay_mask)),
        scale_by_lars(
            1.0,
            trust_ratio_mask=trust_ratio_mask,
            variant=Variant(denominator="gradient"),
            learning_rate=learning_rate,
        ),
        optax.scale_by_schedule(rate),
    )

    def update(updates: Any, state: Any, params: Any | None = None) -> tuple[Any, Any]:
        # Optax's Adam raises a float to an integer power, which JAX's strict promotion
        # refuses.
        with jax.numpy_dtype_promotion("standard"):
            return chain.update(updates, state, params)

    return optax.GradientTransformation(chain.init, update)
