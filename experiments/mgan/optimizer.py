"""The optimizer of a player, with every number of it a traced value."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from experiments.mgan.config import Config
from experiments.mgan.networks import stacked_axes
from lars_jax.optim import exclude_vectors, lamb, lars

TINY = 1e-16
"""Under the root of the second moment, the square of Adam's epsilon beside it."""


def make_optimizer(
    config: Config, side: Literal["generator", "discriminator"]
) -> optax.GradientTransformation:
    """Return a player's optimizer.

    LARS and LAMB treat each generator's first layer as a layer of its own, and leave
    vectors alone (biases begin at zero, where a trust ratio would keep them). Without
    weight decay a layer that gains by growing, as those of a player that wins do, grows
    by a share of itself at every step, and so without bound.
    """
    own = config.optimizer
    rule, rate = own.optimizer, own.discriminator_rate
    if side == "generator":
        rule, rate = own.generator_optimizer or rule, own.generator_rate
    # Gradients pass through the steps of an Unrolled GAN's discriminator. Adam's root
    # has none at 0, where the second moment of a weight without a gradient stays.
    through = config.rules.game == "unrolled" and side == "discriminator"
    root = TINY if through else 0.0

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
            step = jnp.asarray(step, jnp.result_type(steps))
            rising = jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup_steps, 1.0))
            left = (steps - step) / jnp.maximum(steps * (1.0 - decay_from), 1.0)
            left = jnp.where(decay_from < 1.0, jnp.clip(left, 0.0, 1.0), 1.0)
            return rate * (rising * left)

        if rule == "adam":
            return _lenient(
                optax.adam(schedule, b1=momentum, b2=second_momentum, eps_root=root)
            )
        matrices = exclude_vectors(stacked_axes)
        shared: dict[str, Any] = {
            "weight_decay": weight_decay,
            "weight_decay_mask": matrices,
            "trust_ratio_mask": matrices,
            "stacked_axes": stacked_axes,
        }
        if rule == "lamb":
            return lamb(schedule, b1=momentum, b2=second_momentum, **shared)
        return lars(
            schedule, trust_coefficient=trust_coefficient, momentum=momentum, **shared
        )

    return optax.inject_hyperparams(factory)(
        rate=rate,
        steps=float(config.steps),
        warmup_steps=float(own.warmup_steps),
        decay_from=own.decay_from,
        momentum=own.momentum,
        second_momentum=own.second_momentum,
        trust_coefficient=own.trust_coefficient,
        weight_decay=own.weight_decay,
    )


def _lenient(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return Optax's Adam as JAX's strict promotion takes it.

    It raises its decay, here an array, to an integer power.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(updates, state, params)

    return optax.GradientTransformation(tx.init, update)
