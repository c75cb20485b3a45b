"""LAMB: Optax's Adam with the masks and the trust ratio of `lars`, for comparisons."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lars_jax.optim.masks import Mask
from lars_jax.optim.numbers import Scalar, require_number
from lars_jax.optim.scaling import Inner, layerwise
from lars_jax.optim.trust import Selection
from lars_jax.optim.variants import Variant


class Moments(NamedTuple):
    """Buffers of Adam, one for each parameter."""

    mu: Any
    """Mean of the gradients."""
    nu: Any
    """Mean of their squares."""


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
    same terms. The state is that of `lars`, with ||a + beta w|| for the gradient norm.

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
    require_number("b1", b1, below=1)
    require_number("b2", b2, below=1)
    require_number("eps", eps)
    return layerwise(
        Selection(
            trust_ratio_mask, weight_decay_mask, stacked_axes, axis_names, layer_groups
        ),
        variant=Variant(denominator="fused"),
        learning_rate=learning_rate,
        trust_coefficient=1.0,
        weight_decay=weight_decay,
        eps=0.0,
        apply_rate=True,
        inner=_adam(b1, b2, eps),
    )


def _adam(b1: Scalar, b2: Scalar, eps: Scalar) -> Inner:
    """Return Optax's Adam, its count apart from its moments."""
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)  # pyright: ignore[reportArgumentType]

    def init(params: Any) -> Moments:
        state: Any = adam.init(params)
        return Moments(state.mu, state.nu)

    def update(updates: Any, moments: Any, count: jax.Array) -> tuple[Any, Moments]:
        # Adam keeps moments for every parameter; those of a frozen one stay zero.
        whole = jax.tree.map(
            lambda mean, g: jnp.zeros_like(mean) if g is None else g,
            moments.mu,
            updates,
        )
        # Optax's Adam raises a float to an integer power, which JAX's strict promotion
        # refuses.
        with jax.numpy_dtype_promotion("standard"):
            moved, state = adam.update(whole, optax.ScaleByAdamState(count, *moments))
        after: Any = state
        moved = jax.tree.map(
            lambda _, g, u: None if g is None else u, whole, updates, moved
        )
        return moved, Moments(after.mu, after.nu)

    return Inner("gradient", init, update)
