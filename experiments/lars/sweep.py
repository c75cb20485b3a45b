"""Runs of one network through one compiled program, whatever sets them apart.

Optimizer, batch, rate, length and seed are numbers that the program is given: a batch
is so many micro-batches of one size, an optimizer one of several, and some steps are
one call. Compiling takes longer than many a run of a small network, and a comparison
has hundreds of those.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lars.check import check_warmup
from experiments.lars.config import Config, OptimizerConfig
from experiments.lars.inputs import Inputs, load_inputs, open_sources
from experiments.lars.optimizer import OneOf, make_optimizer, numbers, one_of
from experiments.lars.program import (
    Batch,
    ImageFacts,
    Shared,
    Steps,
    build_program,
    make_loss,
    make_network,
)
from experiments.lars.trainer import Trainer
from lars_jax.data import batch_samples
from lars_jax.models import merge_running
from lars_jax.train import (
    DataParallel,
    NonFiniteError,
    TrainState,
    data_mesh,
    update_in_parts,
)
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.config import replace_fields


def obstacle(configs: Sequence[Config]) -> str | None:
    """Return why runs cannot share a program, None if they can.

    Args:
        configs: of the runs, which differ in optimizer and batch.

    >>> print(obstacle([Config()]))
    each has the whole batch as its ghost batch: set --bn-span
    >>> one = replace_fields(Config(), bn_span=64)
    >>> print(obstacle([one, replace_fields(one, global_batch=1024)]))
    None
    """
    first, part = configs[0], micro_batch(configs)
    if first.model.has_batch_norm and first.model.bn_span == "global":
        return "each has the whole batch as its ghost batch: set --bn-span"
    if first.backend != "jit" or first.state_sharding != "none":
        return "that takes --backend jit and --state-sharding none"
    if first.init_from is not None:
        return "weights come from a file: leave --init-from out"
    if first.microbatches != "auto":
        return "the number of micro-batches is given: leave --microbatches out"
    if first.data.augmentation == "random_resized_crop":
        return "images are cut on the host: choose another --augmentation"
    if first.data.placement == "host":
        return "images are fed by the host: leave --placement out"
    if first.model.has_batch_norm and part != first.model.bn_span:
        return f"they share no ghost batch: set --bn-span to a divisor of {part}"
    devices = first.devices or jax.device_count()
    if part % devices:
        return f"{part} examples do not divide over {devices} devices"
    return None


def micro_batch(configs: Sequence[Config]) -> int:
    """Return the examples of a micro-batch: a ghost batch, or what all batches share.

    >>> batches = [replace_fields(Config(), global_batch=b) for b in (96, 256)]
    >>> micro_batch(batches)
    32
    """
    common = math.gcd(*(config.global_batch for config in configs))
    span = configs[0].model.bn_span
    return math.gcd(common, span) if isinstance(span, int) else common


class Sweep:
    """Trainers that share one compiled program and the data on the device.

    Args:
        configs: of all runs, which differ in optimizer and batch and have no obstacle.

    Raises:
        InputError: data that cannot be used, or too large for the device.
    """

    def __init__(self, configs: Sequence[Config]):
        self._rules = list(dict.fromkeys(rule(config) for config in configs))
        self._part = micro_batch(configs)
        self._largest = max(config.global_batch for config in configs)
        self._config = replace_fields(configs[0], global_batch=self._part, holdout=0)
        self._parallel = DataParallel(data_mesh(self._config.devices))
        self._sources = open_sources(self._config)
        # By what is held out, and by the shapes that programs are compiled for.
        self._inputs = functools.cache(self._load)
        self._arrays = functools.cache(self._filled)
        self._evaluating = functools.cache(self._built)
        self._estimating = functools.cache(self._built)
        inputs = self._inputs(0)
        self._facts, self._size = inputs.facts, len(inputs.train)
        steps = self._evaluating(0)
        self._network = steps.network
        # Of parts of a batch, whose length in epochs is of no run.
        self._reference = Trainer(self._config, inputs, steps).drawn()
        self._program = AheadOfTime(
            build_run(
                self._config, self._facts, self._parallel, self._rules, self._part
            )
        )

    @property
    def fits(self) -> bool:
        """Whether the data lie on the device."""
        return bool(self._inputs(0).train.arrays)

    def trainer(self, config: Config) -> "SweepTrainer":
        """Return what trains and evaluates one of the runs, whatever its rate."""
        config = replace_fields(config, microbatches=config.global_batch // self._part)
        inputs = replace(
            self._inputs(config.data.holdout), config=config, facts=self._facts
        )
        holdout, batch = config.data.holdout, inputs.calibration_batch
        steps = replace(
            self._evaluating(holdout),
            statistics=self._estimating(holdout, batch).statistics,
        )
        return SweepTrainer(self, Trainer(config, inputs, steps))

    def draw(self, config: Config, inputs: Inputs) -> TrainState:
        """Return the state at step 0 of one of the runs."""
        check_warmup(config, inputs.total_steps, inputs.steps_per_epoch)
        found = numbers(
            config.optimizer,
            total_steps=inputs.total_steps,
            steps_per_epoch=inputs.steps_per_epoch,
        )
        which = np.int32(self._rules.index(rule(config)))
        own = {name: np.float32(value) for name, value in found.items()}
        return self._drawn(np.uint32(config.seed), which, own)

    def steps(
        self, state: TrainState, trainer: Trainer, start: int, seed: int
    ) -> tuple[TrainState, dict[str, Any], int]:
        """Return the state some steps on, what the last one measured, and its number.

        Args:
            state: at step `start`, which must not be used again.
            trainer: whose run it is.
            start: number of steps that are done.
            seed: of the order and of what images look like.
        """
        inputs, batch = trainer.inputs, trainer.config.global_batch
        length = max(self._size, self._largest)
        stop = min(start + length // batch, inputs.total_steps)
        drawn = [
            batch_samples(seed, step, len(inputs.train), batch)
            for step in range(start, stop)
        ]
        samples = {
            name: np.resize(np.concatenate(columns), length)
            for name, columns in zip(
                ("index", "epoch"), zip(*drawn, strict=True), strict=True
            )
        }
        shared = self._arrays(trainer.config.data.holdout) | samples
        shared |= {
            "key": self._parallel.replicate(jax.random.key(seed)),
            "parts": np.int32(batch // self._part),
            "steps": np.int32(stop - start),
        }
        state, metrics = self._program(state, {}, shared)
        return state, metrics, stop

    def to_evaluate(self, state: TrainState) -> TrainState:
        """Return a state as evaluation takes it, whichever optimizer trained it."""
        return self._reference._replace(
            step=state.step, params=state.params, model_state=state.model_state
        )

    @functools.cached_property
    def _drawn(self) -> Callable[..., TrainState]:
        network, side = self._network, self._config.data.image_size
        tx = one_of([_transform(one) for one in self._rules])

        def draw(seed: jax.Array, which: jax.Array, own: dict[str, Any]) -> TrainState:
            images = jnp.zeros((2, side, side, self._facts.channels))
            params, model_state = network.init(jax.random.key(seed), images)
            state = TrainState.create(params, model_state, tx)
            states = tuple(
                one._replace(hyperparams=own) for one in state.opt_state.states
            )
            return state._replace(opt_state=OneOf(which, states))

        return jax.jit(draw, out_shardings=self._parallel.replicated)

    def _load(self, holdout: int) -> Inputs:
        config = replace_fields(self._config, holdout=holdout)
        sources = {"train": self._sources["train"]} if holdout else self._sources
        return load_inputs(config, self._parallel, sources)

    def _filled(self, holdout: int) -> dict[str, Any]:
        def filled(x: jax.Array) -> jax.Array:
            # Up to the size of all, so that the program is the same.
            return jnp.pad(x, [(0, self._size - len(x)), *[(0, 0)] * (x.ndim - 1)])

        return jax.tree.map(filled, self._inputs(holdout).train.arrays)

    def _built(self, *shapes: int) -> Steps:
        del shapes
        return build_program(self._config, self._facts, self._parallel)


@dataclass(frozen=True)
class SweepTrainer:
    """One run of a sweep, as a `Trainer` has it.

    Attributes:
        sweep: whose program it is.
        trainer: of the same run, which evaluates.
    """

    sweep: Sweep
    trainer: Trainer

    @property
    def config(self) -> Config:
        """The run, its micro-batches resolved."""
        return self.trainer.config

    def init(self, config: Config | None = None) -> TrainState:
        """Return the state at step 0, for this configuration or another rate or seed.

        Raises:
            InputError: nothing of the run is left after its warm-up.
        """
        return self.sweep.draw(config or self.config, self.trainer.inputs)

    def fit(
        self, state: TrainState, *, seed: int | None = None
    ) -> tuple[TrainState, int]:
        """Train from step 0 to the end of the run.

        Raises:
            NonFiniteError: loss or gradient were not finite.
        """
        seed = self.config.seed if seed is None else seed
        step, total = 0, self.trainer.inputs.total_steps
        while step < total:
            state, metrics, step = self.sweep.steps(state, self.trainer, step, seed)
            if not metrics["finite"]:
                raise NonFiniteError(
                    f"training must stay finite; by step {step} it was not: lower the "
                    "learning rate, or set a longer --warmup-epochs"
                )
        return state, step

    def evaluate(
        self, state: TrainState, *, seed: int | None = None
    ) -> dict[str, float]:
        """Return accuracy, loss and count over every evaluation example."""
        return self.trainer.evaluate(self.sweep.to_evaluate(state), seed=seed)


def rule(config: Config) -> OptimizerConfig:
    """Return what an optimizer is apart from its numbers.

    >>> slow = replace_fields(Config(), learning_rate=0.1)
    >>> rule(slow) == rule(Config())
    True
    """
    found = config.optimizer
    kept = ("optimizer", "variant", "excluded", "decay_from")
    return OptimizerConfig(**{name: getattr(found, name) for name in kept})


def build_run(
    config: Config,
    facts: ImageFacts,
    parallel: DataParallel,
    rules: Sequence[OptimizerConfig],
    part: int,
) -> Callable[..., Any]:
    """Return the program: some steps of any of the runs, not yet compiled.

    Args:
        config: what all runs share.
        facts: of their data.
        parallel: the mesh, of the back-end jit.
        rules: optimizers, whose numbers are in the state.
        part: examples of a micro-batch.

    Returns:
        `(state, batch, shared) -> (state, metrics)`, which takes the memory of the
        state, and of which `batch` is empty: `shared` has `index` and `epoch` of
        examples in the order of the steps, beside `image`, `label` and `key` as
        `program.build_train_step` has them, `parts` of a batch and `steps` to take.
        `metrics` are the last step's, and whether loss and gradients were `finite` in
        all; the first step that was not is the last.
    """
    network = make_network(config, facts, parallel)
    tx = one_of([_transform(one) for one in rules])

    def run(state: TrainState, batch: Batch, shared: Shared) -> Any:
        del batch
        samples = {name: shared[name] for name in ("index", "epoch")}

        def step(done: jax.Array, state: TrainState) -> Any:
            key = jax.random.fold_in(shared["key"], state.step)
            loss_fn = make_loss(
                config, facts, network, shared, jax.random.fold_in(key, 0)
            )

            def examples(i: jax.Array) -> Batch:
                first = (done * shared["parts"] + i) * part
                found = {
                    name: jax.lax.dynamic_slice_in_dim(x, first, part)
                    for name, x in samples.items()
                }
                return jax.lax.with_sharding_constraint(found, parallel.sharded)

            state, metrics = update_in_parts(
                loss_fn, tx, state, examples, shared["parts"], key, merge=merge_running
            )
            nonfinite = jnp.any(metrics.pop("nonfinite"))
            finite = jnp.isfinite(metrics["loss"]) & ~nonfinite
            return state, metrics | {"finite": finite}

        def go_on(carry: Any) -> jax.Array:
            done, _, metrics = carry
            return (done < shared["steps"]) & metrics["finite"]

        def body(carry: Any) -> Any:
            done, state, _ = carry
            return done + 1, *step(done, state)

        _, shapes = jax.eval_shape(step, jnp.int32(0), state)
        metrics = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
        _, state, metrics = jax.lax.while_loop(
            go_on, body, (jnp.int32(0), state, metrics)
        )
        return state, metrics

    return parallel.compile(run)


def _transform(one: OptimizerConfig) -> Any:
    # Only its rule: the numbers are in the state.
    return make_optimizer(one, total_steps=1, steps_per_epoch=1.0)
