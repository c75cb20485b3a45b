"""The optimizer of a run, with every number of it a traced value.

`inject_hyperparams` keeps the numbers in the optimizer's state rather than in the
compiled program, so one compiled step serves every rate, decay and length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.lars.config import OptimizerConfig
from lars_jax.optim import (
    BIAS_AND_NORM,
    exclude,
    lamb,
    lars,
    record_norms,
    warmup_polynomial,
)


def make_optimizer(
    config: OptimizerConfig, *, total_steps: int, steps_per_epoch: float
) -> optax.GradientTransformation:
    """Return LARS, or a control with the same schedule and the same leaves left out.

    Args:
        config: the optimizer's section of a run's configuration.
        total_steps: T of the decay.
        steps_per_epoch: what turns warm-up epochs into steps; may be fractional.

    >>> import jax.numpy as jnp
    >>> tx = make_optimizer(OptimizerConfig(), total_steps=100, steps_per_epoch=5.6)
    >>> state = tx.init({"kernel": jnp.ones(2)})
    >>> print(learning_rate(OptimizerConfig(), state, jnp.array(50)))
    0.5
    """
    mask = exclude(BIAS_AND_NORM) if config.excluded == "bias_and_norm" else True

    def factory(
        learning_rate: float,
        end_learning_rate: float,
        decay_power: float,
        warmup_start: float,
        warmup_steps: float,
        total_steps: float,
        momentum: float,
        weight_decay: float,
        trust_coefficient: float,
    ) -> optax.GradientTransformation:
        schedule = _schedule(
            config,
            {
                "learning_rate": learning_rate,
                "total_steps": total_steps,
                "warmup_steps": warmup_steps,
                "decay_power": decay_power,
                "warmup_start": warmup_start,
                "end_learning_rate": end_learning_rate,
            },
        )
        if config.optimizer == "lars":
            return lars(
                schedule,
                weight_decay,
                mask,
                trust_coefficient,
                trust_ratio_mask=mask,
                momentum=momentum,
                variant=config.variant,
            )
        if config.optimizer == "lamb":
            return lamb(
                schedule,
                b1=momentum,
                weight_decay=weight_decay,
                weight_decay_mask=mask,
                trust_ratio_mask=mask,
            )
        # The chain of LARS with every trust ratio one.
        return optax.chain(
            record_norms(schedule),
            optax.add_decayed_weights(weight_decay, None if mask is True else mask),
            optax.scale_by_learning_rate(schedule),
            optax.trace(momentum, nesterov=config.optimizer == "nesterov"),
        )

    return optax.inject_hyperparams(factory)(
        **numbers(config, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    )


def numbers(
    config: OptimizerConfig, *, total_steps: int, steps_per_epoch: float
) -> dict[str, float]:
    """Return every number of an optimizer, as its state has them by name.

    Args:
        config: as of `make_optimizer`.
        total_steps: as of `make_optimizer`.
        steps_per_epoch: as of `make_optimizer`.

    >>> config = OptimizerConfig(warmup_epochs=2.0)
    >>> numbers(config, total_steps=100, steps_per_epoch=5.6)["warmup_steps"]
    11.2
    """
    return {
        "learning_rate": config.learning_rate,
        "end_learning_rate": config.end_learning_rate,
        "decay_power": config.decay_power,
        "warmup_start": config.warmup_start,
        "warmup_steps": config.warmup_epochs * steps_per_epoch,
        "total_steps": float(total_steps),
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
        "trust_coefficient": config.trust_coefficient,
    }


class OneOf(NamedTuple):
    """State of `one_of`: which optimizer is at work, int32 [], and each one's state."""

    which: jax.Array
    states: tuple[Any, ...]


def one_of(
    optimizers: Sequence[optax.GradientTransformation],
) -> optax.GradientTransformation:
    """Return an optimizer that is one of several, by a number in its state.

    A compiled step then serves all of them. Only the state of that one moves on.

    Args:
        optimizers: at least one, on the same parameters.

    >>> import jax.numpy as jnp
    >>> tx = one_of([optax.sgd(1.0), optax.sgd(0.5)])
    >>> state = tx.init(jnp.array(0.0))._replace(which=jnp.array(1))
    >>> print(tx.update(jnp.array(2.0), state)[0])
    -1.0
    """

    def init(params: Any) -> OneOf:
        return OneOf(jnp.int32(0), tuple(tx.init(params) for tx in optimizers))

    def branch(number: int) -> Callable[..., Any]:
        def run(gradients: Any, states: tuple[Any, ...], params: Any) -> Any:
            updates, own = optimizers[number].update(gradients, states[number], params)
            return updates, (*states[:number], own, *states[number + 1 :])

        return run

    branches = [branch(number) for number in range(len(optimizers))]

    def update(gradients: Any, state: OneOf, params: Any = None) -> Any:
        updates, states = jax.lax.switch(
            state.which, branches, gradients, state.states, params
        )
        return updates, OneOf(state.which, states)

    return optax.GradientTransformation(
        init,
        update,  # pyright: ignore[reportArgumentType]
    )


def learning_rate(
    config: OptimizerConfig, opt_state: Any, step: jax.Array
) -> jax.Array:
    """Return the global rate that the optimizer applies at a step, from its state."""
    return _schedule(config, opt_state.hyperparams)(step)


def _schedule(
    config: OptimizerConfig, numbers: Mapping[str, Any]
) -> Callable[[Any], jax.Array]:
    return warmup_polynomial(
        numbers["learning_rate"],
        numbers["total_steps"],
        numbers["warmup_steps"],
        power=numbers["decay_power"],
        start=numbers["warmup_start"],
        end=numbers["end_learning_rate"],
        decay_from=config.decay_from,
    )
