"""Train and evaluate one configuration in memory; files are `run`'s business."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.lars.config import Config
from experiments.lars.inputs import Inputs, load_inputs
from experiments.lars.microbatches import (
    choose_microbatches,
    device_memory,
    steps_ahead,
)
from experiments.lars.program import Program, build_program, make_state
from lars_jax.models import merge_statistics
from lars_jax.optim import leaf_names
from lars_jax.train import (
    DataParallel,
    Hook,
    Interrupt,
    TrainState,
    data_mesh,
    evaluate,
    fit,
)
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.weights import load_weights

ESTIMATE_BELOW = 1000
"""Updates under which a running average lags so far that statistics are estimated.

With momentum 0.9 the average remembers ten updates. In a long run the weights hardly
move in ten updates by the time it is evaluated; in a run of sixty they move throughout.
"""


@dataclass(frozen=True)
class Trainer:
    """A configuration with its data and its program.

    The numbers of a configuration (rates, decay, momentum, seed) are in the state, so
    `fit` and `evaluate` of one trainer serve every configuration that differs from its
    own in those alone; the length of a run is the trainer's own.

    Attributes:
        config: the run, its parts and its span resolved to numbers.
        inputs: its data.
        program: its steps.
        parts: a line about how a batch is cut, and why so.
    """

    config: Config
    inputs: Inputs
    program: Program
    parts: str = ""

    @classmethod
    def create(cls, config: Config) -> "Trainer":
        """Load the data and build the steps of a configuration."""
        parallel = DataParallel(data_mesh(config.devices), config.backend)
        limit = device_memory(config, parallel)
        inputs = load_inputs(config, parallel)
        found = choose_microbatches(config, inputs.setting(), limit)
        inputs = dataclasses.replace(inputs, config=found.config)
        program = build_program(found.config, inputs.facts, parallel, found.train_step)
        return cls(found.config, inputs, program, found.reason)

    def initial_state(self, config: Config | None = None) -> TrainState:
        """Return the state at step 0, for this configuration or one of its kin.

        Raises:
            InputError: `init_from` is no file of weights of this network.
        """
        config = self.config if config is None else config
        state = self.drawn_state(config)
        if config.init_from is None:
            return state
        weights = {"params": state.params, "model_state": state.model_state}
        found = load_weights(Path(config.init_from), weights)
        params, model_state = found["params"], found["model_state"]
        state = state._replace(params=params, model_state=model_state)
        # What is read on the host is the same on every process, and cut as the state.
        place = jax.jit(lambda state: state, out_shardings=self.program.shardings)
        return place(state)

    def drawn_state(self, config: Config | None = None) -> TrainState:
        """Return the state at step 0 with weights drawn from the seed."""
        config = self.config if config is None else config
        program, inputs = self.program, self.inputs

        def draw(seed: jax.Array) -> TrainState:
            # A key made inside, so that several processes send one another no seed.
            return make_state(
                config,
                inputs.facts,
                program.network,
                jax.random.key(seed),
                total_steps=inputs.total_steps,
                steps_per_epoch=inputs.steps_per_epoch,
            )

        # Where it is split no device need ever hold the whole.
        drawn = jax.jit(draw, out_shardings=program.shardings)
        return drawn(np.uint32(config.seed))

    def state_shapes(self) -> TrainState:
        """Return the shapes and shardings of a state, without drawing one."""
        shapes = jax.eval_shape(self.drawn_state)
        found = self.program.shardings
        if isinstance(found, jax.sharding.Sharding):
            return jax.tree.map(lambda x: x.update(sharding=found), shapes)
        return jax.tree.map(lambda x, own: x.update(sharding=own), shapes, found)

    def fit(
        self,
        state: TrainState,
        *,
        start: int = 0,
        seed: int | None = None,
        on_metrics: Callable[[int, dict[str, Any]], None] = lambda step, metrics: None,
        hooks: Sequence[Hook] = (),
        interrupt: Interrupt | None = None,
    ) -> tuple[TrainState, int]:
        """Train from a state to the end of the run; see `lars_jax.train.fit`."""
        interrupt = interrupt or Interrupt()
        seed = self.config.seed if seed is None else seed
        shared = self.inputs.shared(self.inputs.train, seed)
        steps = self.inputs.total_steps
        batches = self.inputs.train_batches(
            start=start, stop=steps, seed=seed, interrupt=interrupt
        )
        return fit(
            lambda state, batch: _call(
                self.program.train_step, interrupt, state, batch, shared
            ),
            state,
            batches,
            steps=steps,
            start=start,
            examples_per_step=self.config.global_batch,
            on_metrics=on_metrics,
            log_every=self.config.log_every,
            hooks=hooks,
            leaf_names=leaf_names(state.params),
            should_stop=lambda: interrupt.requested,
            ahead=steps_ahead(self.inputs.setting(), self.config.global_batch),
        )

    def evaluate(
        self, state: TrainState, interrupt: Interrupt | None = None
    ) -> dict[str, float]:
        """Return accuracy, loss and count over every evaluation example.

        Raises:
            Interrupted: a signal came.
        """
        interrupt = interrupt or Interrupt()
        state = self.evaluation_state(state, interrupt)
        shared = self.inputs.shared(self.inputs.evaluation, self.config.seed)
        return evaluate(
            lambda batch: _call(
                self.program.eval_step, interrupt, state, batch, shared
            ),
            self.inputs.evaluation_batches(interrupt),
            expected=len(self.inputs.evaluation),
            should_stop=lambda: interrupt.requested,
        )

    def predict(
        self, state: TrainState, interrupt: Interrupt | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the network makes of every evaluation example.

        Returns:
            Probabilities float32 [N, classes], and labels int32 [N].

        Raises:
            Interrupted: a signal came.
        """
        interrupt = interrupt or Interrupt()
        state = self.evaluation_state(state, interrupt)
        shared = self.inputs.shared(self.inputs.evaluation, self.config.seed)
        parts = []
        for batch in self.inputs.evaluation_batches(interrupt):
            found = _call(self.program.predict, interrupt, state, batch, shared)
            parts.append(jax.device_get(found))
        examples = slice(len(self.inputs.evaluation))
        probabilities, labels = (
            np.concatenate(part)[examples] for part in zip(*parts, strict=True)
        )
        return probabilities, labels

    def evaluation_state(
        self, state: TrainState, interrupt: Interrupt | None = None
    ) -> TrainState:
        """Return the state with the batch statistics that evaluation should use.

        Raises:
            Interrupted: a signal came.
        """
        interrupt = interrupt or Interrupt()
        if not jax.tree.leaves(state.model_state) or not self._estimates():
            return state
        shared = self.inputs.shared(self.inputs.train, self.config.seed)
        # One at a time: several programs in flight, each with its collectives, can
        # wait for one another for ever where many virtual devices share few threads.
        parts = []
        batches = self.inputs.calibration_batches(
            seed=self.config.seed, interrupt=interrupt
        )
        for batch in batches:
            found = _call(self.program.statistics, interrupt, state, batch, shared)
            parts.append(jax.block_until_ready(found))
        return state._replace(model_state=merge_statistics(parts))

    def _estimates(self) -> bool:
        choice = self.config.model.batch_statistics
        if choice == "auto":
            return self.inputs.total_steps < ESTIMATE_BELOW
        return choice == "estimated"


def _call(step: AheadOfTime, interrupt: Interrupt, *arguments: Any) -> Any:
    """Return what a step returns, its compilation ended by a signal but not its run."""
    if not step.compiled:
        interrupt.run(partial(step.compile, *arguments))
    return step(*arguments)
