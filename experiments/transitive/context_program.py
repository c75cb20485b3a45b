"""Training by context prediction: a program of the shell, with photographs as its data.

Choices where paper and code leave one: the rate warms up linearly over a twentieth of
the run and decays polynomially; SGD has momentum 0.9 on the mean loss, in place of 0 to
0.999 on the sum; nothing decays weights, most of which are normalised away.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.transitive.config import Config, ContextConfig
from experiments.transitive.context import (
    PAIRS_PER_PHOTOGRAPH,
    check_context,
    evaluation_pairs,
    pair_batches,
)
from experiments.transitive.context_network import (
    context_losses,
    context_network,
    convolutions,
    noisy_pairs,
)
from experiments.transitive.host_fed import HostFedProgram
from lars_jax.data import Source, hold_out
from lars_jax.errors import InputError
from lars_jax.optim import BIAS_AND_NORM, exclude, lars, warmup_polynomial
from lars_jax.runs import Cadence, Sources
from lars_jax.train import (
    DataParallel,
    Interrupt,
    TrainState,
    data_mesh,
    evaluate,
    update,
)
from lars_jax.train.ahead import AheadOfTime

WARMUP = 0.05
"""Share of the run that the rate rises over."""

MOMENTUM = 0.9
"""Momentum of SGD and of LARS."""

EVALUATIONS = 20
"""Evaluations in a run."""

CHECKPOINT_EVERY = 1000
"""Steps between checkpoints, or those between evaluations where these are fewer."""

HELD_OUT = 0.1
"""Share of the photographs that are left out of training where none are given to
evaluate by. They are chosen one by one: of frames of a video, or views of an object,
others are trained on."""

ROWS = 1000
"""Rows of metrics that a run leaves at most."""

Batch = dict[str, jax.Array]


def split_photographs(sources: Sources) -> tuple[Source, Source]:
    """Return the photographs to train on and those to evaluate by.

    Args:
        sources: `train` and `test`; without `test`, a tenth of `train` is left out, the
            same for every seed, whatever else shows the same scene.

    Raises:
        InputError: no photographs in one of the two.

    >>> from lars_jax.data import digits_source
    >>> train, test = split_photographs({"train": digits_source("test")})
    >>> len(train), len(test)
    (324, 36)
    """
    train, test = sources.get("train"), sources.get("test")
    if train is not None and test is None and len(train) > 1:
        return hold_out(train, max(1, round(HELD_OUT * len(train))))
    if not train or not test:
        counts = ", ".join(f"{len(source)} {name}" for name, source in sources.items())
        raise InputError(
            "context prediction needs photographs to train on and others to evaluate "
            f"by; got {counts or 'none'}: add some, two at least"
        )
    return train, test


def context_optimizer(config: ContextConfig) -> optax.GradientTransformation:
    """Return the rule of the context network, with its schedule.

    LARS leaves biases out: those that batch normalisation follows have no gradient but
    rounding errors, which a trust ratio would blow up.

    In twenty steps of SGD the rate of the second is 2 (1 - 1 / 20)^2, and the gradient
    of ones has come twice:

    >>> tx = context_optimizer(ContextConfig(context_rate=2.0, context_steps=20))
    >>> ones = {"kernel": jnp.ones(1)}
    >>> _, state = tx.update(ones, tx.init(ones))
    >>> print(tx.update(ones, state)[0]["kernel"] / -1.9)
    [1.805]
    """
    rate = warmup_polynomial(
        config.context_rate, config.context_steps, WARMUP * config.context_steps
    )
    if config.context_optimizer == "adam":
        return optax.adam(rate)
    if config.context_optimizer == "sgd":
        return optax.sgd(rate, MOMENTUM)
    return lars(rate, trust_ratio_mask=exclude(BIAS_AND_NORM), momentum=MOMENTUM)


class ContextProgram(HostFedProgram):
    """A context network with its photographs.

    Its weights, which `export` writes, are the convolutions with batch normalisation
    folded into them: parameters of `lars_jax.models.vgg16`.

    Args:
        config: the pipeline's; only `context`, `model`, `seed` and `devices` matter.
        sources: photographs of any sizes, as `split_photographs` takes them; what they
            are labelled as does not matter.

    Raises:
        InputError: a configuration that `check_context` refuses, a batch that does not
            divide over the devices, or a split without photographs.
    """

    def __init__(self, config: Config, sources: Sources):
        check_context(config.context)
        self.config, self.seed = config, config.seed
        self.examples_per_step = 2 * config.context.context_batch
        self.log_every = max(1, config.context.context_steps // ROWS)
        self.train, self.test = split_photographs(sources)
        self.parallel = DataParallel(data_mesh(config.devices))
        self.parallel.check_divides(config.context.context_batch)
        self.network = context_network(config.model)
        self.tx = context_optimizer(config.context)
        self.train_step = AheadOfTime(self.parallel.compile(self._update))
        self.eval_step = AheadOfTime(self.parallel.compile_pure(self._measure))

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        steps = self.config.context.context_steps
        between = max(1, steps // EVALUATIONS)
        return Cadence(steps, between, min(CHECKPOINT_EVERY, between))

    def drawn(self) -> TrainState:
        """Return the state before the first step, its weights drawn by the seed."""
        side = self.config.context.patch
        # A key made inside, so that several processes send one another no seed.
        params, model_state = self.network.init(
            jax.random.key(self.seed),
            jax.ShapeDtypeStruct((1, 2, side, side, 3), jnp.float32),
        )
        return TrainState.create(params, model_state, self.tx)

    def batches(self, start: int) -> Iterator[dict[str, Any]]:
        """Yield the pairs of every step from `start` on."""
        config = self.config.context
        return pair_batches(
            self.train,
            config,
            seed=self.seed,
            start=start,
            steps=config.context_steps,
            rows=self.parallel.local_rows(config.context_batch),
        )

    def evaluate(self, state: TrainState, interrupt: Interrupt) -> dict[str, float]:
        """Return accuracy, loss and count over pairs of every photograph left out.

        Pairs and colours dropped are the same for all steps and all seeds.

        Raises:
            Interrupted: a signal came.
        """
        batch = self.config.context.context_batch
        pairs = evaluation_pairs(
            self.test,
            self.config.context,
            batch,
            rows=self.parallel.local_rows(batch),
        )
        shared = self.parallel.replicate({"key": jax.random.key(0)})
        return evaluate(
            lambda batch: self.eval_step.under(interrupt, state, batch, shared),
            map(self.parallel.shard_batch, interrupt.each(pairs)),
            expected=PAIRS_PER_PHOTOGRAPH * len(self.test),
            should_stop=lambda: interrupt.requested,
        )

    def weights(self, state: TrainState) -> Any:
        """Return the parameters of `vgg16`, of this width and without normalisation."""
        return convolutions(state.params, state.model_state)

    def describe(self, state: TrainState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        config = self.config
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        yield (
            f"context prediction, {parameters:,} parameters; {len(self.train):,} "
            f"photographs to train on, {len(self.test):,} others to evaluate; "
            f"{config.context.context_optimizer}, {config.context.context_batch} pairs "
            f"a batch, {config.context.context_steps} steps on "
            f"{self.parallel.num_devices} x {jax.devices()[0].device_kind}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what a start runs on."""
        return {"devices": self.parallel.num_devices}

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return (
            f"loss {row['loss']:.3f} accuracy {100 * row['accuracy']:.1f} % "
            f"{row['images_per_second']:.0f} patches/s "
            f"wait {100 * row['data_wait']:.1f}%"
        )

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line."""
        return (
            f"accuracy {100 * evaluation['accuracy']:.2f} % of "
            f"{evaluation['count']:.0f} pairs (chance 12.5), "
            f"loss {evaluation['loss']:.4f}"
        )

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the accuracy, by which the best checkpoint is kept."""
        return evaluation.get("accuracy")

    def _update(self, state: TrainState, batch: Batch, shared: Batch) -> Any:
        key = jax.random.fold_in(shared["key"], state.step)
        return update(self._loss, self.tx, state, batch, key)

    def _loss(self, params: Any, model_state: Any, batch: Batch, key: jax.Array) -> Any:
        pairs = noisy_pairs(key, batch["pair"], batch["number"])
        logits, model_state = self.network.apply(params, model_state, pairs, train=True)
        losses, right = context_losses(logits, batch["label"])
        accuracy = jnp.mean(right.astype(jnp.float32))
        return jnp.mean(losses), (model_state, {"accuracy": accuracy})

    def _measure(self, state: TrainState, batch: Batch, shared: Batch) -> Batch:
        pairs = noisy_pairs(shared["key"], batch["pair"], batch["number"])
        logits, _ = self.network.apply(state.params, state.model_state, pairs)
        losses, right = context_losses(logits, batch["label"])
        mask = batch["mask"]
        return {
            "loss": jnp.sum(jnp.where(mask, losses, 0.0)),
            "accuracy": jnp.sum(right & mask),
            "count": jnp.sum(mask),
        }
