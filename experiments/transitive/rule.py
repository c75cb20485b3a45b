"""The rule that networks are trained by when features are transferred."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from lars_jax.optim import lamb, lars, record_norms
from lars_jax.runs import BelowOne, NonNegative, NonNegativeFloat, Positive


@dataclass(frozen=True)
class RuleConfig:
    """The rule, and its schedule."""

    optimizer: Literal["sgd", "lars", "adam"] = "sgd"
    """Rule."""

    learning_rate: NonNegativeFloat = 1e-3
    """Learning rate, once warm."""

    warmup_steps: NonNegative = 0
    """Steps of linear warm-up."""

    drop_every: Positive = 1_000_000
    """Steps after each of which the rate is divided by ten."""

    momentum: BelowOne = 0.9
    """Momentum."""

    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay beta."""


def make_rule(config: RuleConfig) -> optax.GradientTransformation:
    """Return the rule of a configuration.

    Step t, from 0 on, has the rate gamma min((t + 1) / warmup, 1) / 10^floor(t / drop).

    >>> tx = make_rule(RuleConfig(learning_rate=1.0, drop_every=1, weight_decay=0.0))
    >>> w = jnp.ones(1)
    >>> state = tx.init(w)
    >>> for step in range(2):
    ...     moved, state = tx.update(w, state, w)
    >>> print(moved.round(2))
    [-0.19]
    """

    def rate(count: Any) -> jax.Array:
        step = jnp.asarray(count, jnp.float32)
        warm = jnp.minimum((step + 1) / max(1, config.warmup_steps), 1.0)
        return config.learning_rate * warm * 0.1 ** (step // config.drop_every)

    decay, momentum = config.weight_decay, config.momentum
    if config.optimizer == "lars":
        return lars(rate, decay, momentum=momentum)
    if config.optimizer == "adam":
        # Adam is LAMB with every trust ratio one.
        return lamb(rate, b1=momentum, weight_decay=decay, trust_ratio_mask=False)
    return optax.chain(
        record_norms(rate),
        optax.add_decayed_weights(decay),
        optax.sgd(rate, momentum or None),
    )
