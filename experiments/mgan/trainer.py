"""Play one configuration in memory; files are the shell's business."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mgan.check import resolve_devices
from experiments.mgan.config import Config
from experiments.mgan.game import (
    Draw,
    GameState,
    Players,
    Step,
    initial_state,
    make_players,
    make_step,
)
from experiments.mgan.inputs import call_rows, load_inputs
from experiments.mgan.sampling import (
    Samples,
    draw_samples,
    make_sample_each,
    make_statistics,
)
from lars_jax.data import ResidentImages
from lars_jax.optim import leaf_names
from lars_jax.runs import Sources
from lars_jax.train import DataParallel, Hook, Interrupt, data_mesh, fit
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.weights import load_weights

SPARE = 1.15
"""Samples of each generator in a call, over its mean share of an evaluation: one call
is nearly always enough where all weights are equal."""

MOST_IN_CALL = 256
"""Images of each generator that a call draws, so that memory stays small."""

LEAST_IN_CALL = 100
"""Images of each generator that a call draws, so that there are enough to be shown."""

STATISTICS_USE = 1000
"""Tells the noise that statistics are estimated with from that of samples."""

CALLS_AHEAD = 2
"""Calls that may be queued; each is long enough to keep the device at work."""


class Trainer:
    """A configuration with its data and its program.

    Args:
        config: the game.

    Attributes:
        inputs: its data.
        players: its networks and optimizers.
        parallel: its mesh.
        call: `(state, rows, shared) -> (state, metrics)`, `steps_per_call` steps.
        sample_each: draws of every generator.
        statistics: estimates what normalisation needs of other weights.

    Raises:
        InputError: no such data or devices, or batches that do not fit them.
    """

    def __init__(self, config: Config, sources: Sources | None = None):
        devices = resolve_devices(config, jax.device_count())
        self.config = config
        self.parallel = parallel = DataParallel(data_mesh(devices))
        self.inputs = inputs = load_inputs(config, sources)
        self.players = make_players(config, inputs.sample_shape[-1])
        self.call = make_call(config, self.players, inputs.draw, parallel)
        count = int(SPARE * config.eval_samples / config.rules.generators) + 1
        if inputs.image is not None:
            count = min(max(count, LEAST_IN_CALL), MOST_IN_CALL)
        self.sample_each = make_sample_each(config, self.players, count)
        self.statistics = make_statistics(config, self.players)

    def init(self) -> GameState:
        """Return the state before the first step.

        Raises:
            InputError: `init_from` is no file of weights of these generators.
        """
        state = self.like()
        if self.config.init_from is None:
            return state
        generators = state.generators
        like = {"params": generators.params, "model_state": generators.model_state}
        found = load_weights(Path(self.config.init_from), like)
        state = state._replace(
            generators=generators._replace(**found),
            # A copy: the step gives up its arguments' memory, each array once.
            average=jax.tree.map(np.copy, found["params"]),
        )
        return self.parallel.replicate(state)

    def like(self) -> GameState:
        """Return a state with weights drawn from the seed, to restore into."""

        def draw(key: jax.Array) -> GameState:
            return initial_state(
                self.config, self.players, key, self.inputs.sample_shape
            )

        return self.parallel.drawn(draw, self.key(0))

    def fit(
        self,
        state: GameState,
        *,
        start: int = 0,
        on_metrics: Callable[[int, dict[str, Any]], None] = lambda step, metrics: None,
        hooks: Sequence[Hook] = (),
        interrupt: Interrupt | None = None,
    ) -> tuple[GameState, int]:
        """Play from a state to the end of the game; see `lars_jax.train.fit`."""
        interrupt = interrupt or Interrupt()
        config = self.config
        shared: dict[str, Any] = {"key": self.key(1)}
        if self.inputs.image is not None:
            shared["image"] = ResidentImages.of(self.inputs.image)
        shared = self.parallel.replicate(shared)

        def call(state: GameState, rows: Any) -> Any:
            return self.call.under(interrupt, state, rows, shared)

        names = (state.judge.params, state.generators.params)
        return fit(
            call,
            state,
            call_rows(config, self.inputs, start),
            steps=config.steps,
            start=start,
            stride=config.steps_per_call,
            examples_per_step=config.batch,
            on_metrics=on_metrics,
            log_every=config.steps_per_call,
            hooks=hooks,
            leaf_names=[name for params in names for name in leaf_names(params)],
            should_stop=lambda: interrupt.requested,
            ahead=CALLS_AHEAD,
        )

    def sample(
        self, state: GameState, count: int, *, averaged: bool, use: int = 0
    ) -> Samples:
        """Return samples of the mixture.

        Args:
            state: of the game; the samples are a function of it and of the seed.
            count: number of samples N.
            averaged: whether the averaged generators make them.
            use: what for; samples of different uses are independent.
        """
        weights, key = self.made_by(state, averaged), self._key_of(state, averaged, use)
        return draw_samples(self.sample_each, *weights, key, count)

    def sample_rows(self, state: GameState, count: int, *, use: int) -> np.ndarray:
        """Return as many samples of every averaged generator, float32 [count, K, ...].

        Args:
            state: as for `sample`.
            count: samples of each, not more than a call draws.
            use: as for `sample`.
        """
        weights, key = self.made_by(state, True), self._key_of(state, True, use)
        values, _ = self.sample_each(*weights, key)
        return np.asarray(values[:count])

    def made_by(self, state: GameState, averaged: bool) -> tuple[Any, Any]:
        """Return parameters and state of the generators that make samples.

        The running statistics of normalisation are those of the weights that play.
        Averaged weights have others, which are estimated here; with the former their
        images are grey.
        """
        generators = state.generators
        if not averaged or not jax.tree.leaves(generators.model_state):
            params = state.average if averaged else generators.params
            return params, generators.model_state
        key = self._key_of(state, averaged, STATISTICS_USE)
        found = self.statistics(state.average, generators.model_state, key)
        return state.average, found

    def key(self, purpose: int) -> jax.Array:
        """Return a random key of the seed, for one purpose."""
        key = jax.random.key(np.uint32(self.config.seed))
        return jax.random.fold_in(key, purpose)

    def _key_of(self, state: GameState, averaged: bool, use: int) -> jax.Array:
        key = jax.random.fold_in(self.key(2), int(state.generators.step))
        return jax.random.fold_in(key, 2 * use + averaged)


def make_call(
    config: Config, players: Players, draw: Draw, parallel: DataParallel
) -> AheadOfTime:
    """Return `(state, rows, shared) -> (state, metrics)`, `steps_per_call` steps.

    Args:
        config: of the game.
        players: its networks and optimizers.
        draw: real samples of a step.
        parallel: its mesh.
    """
    split = partial(jax.lax.with_sharding_constraint, shardings=parallel.sharded)
    step = make_step(config, players, draw, split)
    return AheadOfTime(
        jax.jit(
            many_steps(step, config.steps_per_call),
            donate_argnums=0,
            out_shardings=parallel.replicated,
        )
    )


def many_steps(step: Step, count: int) -> Step:
    """Return a function of so many steps, with their mean metrics.

    A scan: the host hands over the game and has nothing to do until the last step.

    Args:
        step: of `make_step`.
        count: number of steps; the rows given have it on axis 0.
    """

    def call(state: GameState, rows: Any, shared: Any) -> tuple[GameState, Any]:
        state, metrics = jax.lax.scan(
            lambda state, row: step(state, row, shared), state, rows, length=count
        )
        nonfinite = jnp.any(metrics.pop("nonfinite"), axis=0)
        means = jax.tree.map(lambda values: jnp.mean(values, axis=0), metrics)
        return state, means | {"nonfinite": nonfinite}

    return call
