"""The optimizer of a player, with every number of it a traced value."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.mgan.config import OptimizerConfig, OptimizerName
from experiments.mgan.networks import stacked_axes
from lars_jax.optim import exclude_vectors, lamb, lars

TINY = 1e-16
"""Under the root of the second moment, the square of Adam's epsilon beside it."""


def make_optimizer(
    config: OptimizerConfig,
    rule: OptimizerName,
    rate: float,
    steps: int,
    *,
    differentiable: bool = False,
) -> optax.GradientTransformation:
    """Return a player's optimizer.

    LARS and LAMB treat each generator's first layer as a layer of its own, and leave
    vectors alone (biases begin at zero, where a trust ratio would keep them). Without
    weight decay a layer that gains by growing, as those of a player that wins do, grows
    by a share of itself at every step, and so without bound.

    Args:
        config: what both players have in common.
        rule: of this player.
        rate: of this player.
        steps: length of the run.
        differentiable: whether gradients pass through its steps, as an Unrolled GAN
            has them do. Adam's root has none at 0, where the second moment of a weight
            that never had a gradient stays.
    """

    def factory(
        rate: float,
        steps: float,
        warmup_steps: float,
        decay_from: float,
        momentum: float,
        second_momentum: float,
        trust_coefficient: float,
        weight_decay: float,
    ) -> optax.GradientTransformation:
        def schedule(step: Any) -> Any:
            return rate * _shape(step, steps, warmup_steps, decay_from)

        if rule == "adam":
            root = TINY if differentiable else 0.0
            return _lenient(
                optax.adam(schedule, b1=momentum, b2=second_momentum, eps_root=root)
            )
        matrices = exclude_vectors(stacked_axes)
        if rule == "lamb":
            return lamb(
                schedule,
                b1=momentum,
                b2=second_momentum,
                weight_decay=weight_decay,
                weight_decay_mask=matrices,
                trust_ratio_mask=matrices,
                stacked_axes=stacked_axes,
            )
        return lars(
            schedule,
            weight_decay,
            weight_decay_mask=matrices,
            trust_coefficient=trust_coefficient,
            trust_ratio_mask=matrices,
            momentum=momentum,
            stacked_axes=stacked_axes,
        )

    return optax.inject_hyperparams(factory)(
        rate=rate,
        steps=float(steps),
        warmup_steps=float(config.warmup_steps),
        decay_from=config.decay_from,
        momentum=config.momentum,
        second_momentum=config.second_momentum,
        trust_coefficient=config.trust_coefficient,
        weight_decay=config.weight_decay,
    )


def _lenient(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return Optax's Adam as JAX's strict promotion takes it.

    It raises its decay, here an array, to an integer power.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(updates, state, params)

    return optax.GradientTransformation(tx.init, update)


def _shape(step: Any, steps: Any, warmup_steps: Any, decay_from: Any) -> jax.Array:
    """Return the rate at a step as a share of its peak."""
    step = jnp.asarray(step, jnp.result_type(steps))
    rising = jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup_steps, 1.0))
    left = (steps - step) / jnp.maximum(steps * (1.0 - decay_from), 1.0)
    return rising * jnp.where(decay_from < 1.0, jnp.clip(left, 0.0, 1.0), 1.0)
