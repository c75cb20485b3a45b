"""Where the time of our training step goes: its parts, compiled and timed apart."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.common.rounds import alternate, ratios, repeat, summary
from experiments.lars.optimizer import make_optimizer
from experiments.lars.program import Batch, Shared, prepare
from experiments.lars.trainer import Trainer
from lars_jax.cpu import COMPILER_OPTIONS
from lars_jax.train import Interrupt

STEP = "whole step"
PARTS = ("gather and augment", "forward", "forward and backward", "optimizer")


def breakdown(trainer: Trainer, *, rounds: int, target: float) -> dict[str, Any]:
    """Return the seconds of each part, and its share of the whole step.

    Parts run one after another in each round, and shares are of the same round's step.
    Compiled apart, parts cannot be fused with one another, so shares need not add to 1.
    """
    runs = {
        name: repeat(part, start) for name, (part, start) in _parts(trainer).items()
    }
    taken = alternate(runs, rounds=rounds, target=target)
    return {
        name: {
            "seconds": summary(times.clock),
            "share": summary(ratios(times.clock, taken[STEP].clock)),
        }
        for name, times in taken.items()
    }


def _parts(trainer: Trainer) -> dict[str, tuple[Callable[[Any], Any], Any]]:
    """Return what computes each part once, and what the first time is given.

    Only whole steps go on from one another; of the rest all is the same each time.
    """
    config, inputs, state = trainer.config, trainer.inputs, trainer.init()
    shared = inputs.shared(inputs.train, config.seed)
    interrupt = Interrupt()
    batch = next(inputs.train_batches(start=0, stop=1, seed=0, interrupt=interrupt))
    tx = make_optimizer(config.optimizer, total_steps=1, steps_per_epoch=1.0)

    @jax.jit
    def data(batch: Batch, shared: Shared) -> tuple[jax.Array, jax.Array]:
        images = prepare(config, inputs.facts, batch, shared, train=True)
        return images, shared["label"][batch["index"]]

    def loss(params: Any, images: jax.Array, labels: jax.Array) -> Any:
        logits, model_state = trainer.program.network.apply(
            params, state.model_state, images, train=True, key=shared["key"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses), model_state

    @jax.jit
    def optimizer(gradients: Any, opt_state: Any, params: Any) -> Any:
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    forward = jax.jit(loss)
    # Compiled as the whole step is, or it would be another program.
    options = COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
    backward = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=options)
    images, labels = data(batch, shared)
    _, gradients = backward(state.params, images, labels)
    step, params = trainer.program.train_step, state.params
    return {
        STEP: (lambda own: step(own[0], batch, shared), [trainer.init()]),
        "gather and augment": (lambda _: data(batch, shared), None),
        "forward": (lambda _: forward(params, images, labels), None),
        "forward and backward": (lambda _: backward(params, images, labels), None),
        "optimizer": (lambda _: optimizer(gradients, state.opt_state, params), None),
    }
