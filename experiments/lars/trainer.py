"""A network's training: what a run of this experiment trains, says and leaves.

Beside the files of every run there are

mistakes.npz     what the trained network got wrong
report.html      curves, trust ratios and mistakes, to look at
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.lars.check import check_steps, check_warmup
from experiments.lars.config import Config, rule_name
from experiments.lars.inputs import Inputs, load_inputs, open_sources
from experiments.lars.microbatches import (
    choose_microbatches,
    device_memory,
    steps_ahead,
)
from experiments.lars.optimizer import numbers
from experiments.lars.program import Steps, build_program, make_state, shardings
from experiments.lars.results import save_mistakes
from lars_jax.models import merge_statistics
from lars_jax.optim import FIELDS, leaf_names
from lars_jax.runs import Cadence, Files, Program, Sources
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
from lars_jax.train.interrupt import NEVER
from lars_jax.train.record import plain
from lars_jax.train.weights import load_weights

ESTIMATE_BELOW = 1000
"""Updates under which a running average lags so far that statistics are estimated.

With momentum 0.9 the average remembers ten updates. In a long run the weights hardly
move in ten updates by the time it is evaluated; in a run of sixty they move throughout.
"""

LAYER_ROWS = 100
"""Rows of layer telemetry that a run leaves, or all that it logs where that is less."""


@dataclass(frozen=True)
class Trainer(Program[TrainState]):
    """A configuration with its data and its steps.

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
    program: Steps
    parts: str = ""

    @classmethod
    def create(cls, config: Config, sources: Sources | None = None) -> "Trainer":
        """Load the data and build the steps of a configuration.

        Args:
            config: what is trained.
            sources: its data; None: they are opened here.
        """
        sources = open_sources(config) if sources is None else sources
        parallel = DataParallel(data_mesh(config.devices), config.backend)
        limit = device_memory(config, parallel)
        inputs = load_inputs(config, parallel, sources)
        found = choose_microbatches(config, inputs.setting(), limit)
        inputs = dataclasses.replace(inputs, config=found.config)
        steps = build_program(found.config, inputs.facts, parallel, found.train_step)
        return cls(found.config, inputs, steps, found.reason)

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        config = self.config
        often = {name: self._steps(name) for name in ("eval_every", "checkpoint_every")}
        rare, usual = sorted(often, key=lambda name: -getattr(config, name))
        times = getattr(config, rare) / getattr(config, usual)
        if abs(times - round(times)) < 1e-6:
            # So that they still fall together once both are whole steps.
            often[rare] = often[usual] * max(1, round(often[rare] / often[usual]))
        evaluate, checkpoint = often.values()
        keep = None
        if config.keep_every is not None:
            keep = checkpoint * round(config.keep_every / config.checkpoint_every)
        total = self.inputs.total_steps
        return Cadence(total, evaluate, checkpoint, keep)

    def init(self, config: Config | None = None) -> TrainState:
        """Return the state at step 0, for this configuration or one of its kin.

        Raises:
            InputError: `init_from` is no file of weights of this network, or nothing
                of the run is left after its warm-up.
        """
        config = self.config if config is None else config
        self._check_length(config)
        if config.init_from is None:
            return self.drawn(config)
        shapes = self.program.shapes
        like = {"params": shapes.params, "model_state": shapes.model_state}
        # Read first, so that a file that will not do is refused at once.
        found = load_weights(Path(config.init_from), like)
        state = self.drawn(config)._replace(**found)
        # What is read on the host is the same on every process, and cut as the state.
        places = shardings(self.program.shapes)
        return jax.jit(lambda state: state, out_shardings=places)(state)

    def like(self) -> TrainState:
        """Return the shapes and shardings of a state."""
        return self.program.shapes

    def resumed(self, state: TrainState) -> TrainState:
        """Return a restored state whose schedule ends with the run.

        Raises:
            InputError: nothing of the run is left after its warm-up, or it is no whole
                number of calls.
        """
        self._check_length(self.config)
        known = state.opt_state.hyperparams
        own = numbers(
            self.config.optimizer,
            total_steps=self.inputs.total_steps,
            steps_per_epoch=self.inputs.steps_per_epoch,
        )
        lengths = ("total_steps", "warmup_steps")
        if all(known[name] == np.float32(own[name]) for name in lengths):
            return state
        # The data have become more or less since, and the epochs are counted anew.
        changed = {
            name: jax.device_put(np.float32(own[name]), known[name].sharding)
            for name in lengths
        }
        opt_state = state.opt_state._replace(hyperparams=known | changed)
        return state._replace(opt_state=opt_state)

    def _check_length(self, config: Config) -> None:
        check_warmup(config, self.inputs.total_steps, self.inputs.steps_per_epoch)
        check_steps(config, self.inputs.total_steps)

    def fit(
        self,
        state: TrainState,
        *,
        start: int = 0,
        seed: int | None = None,
        on_metrics: Callable[[int, dict[str, Any]], None] = lambda step, metrics: None,
        hooks: Sequence[Hook] = (),
        interrupt: Interrupt = NEVER,
    ) -> tuple[TrainState, int]:
        """Train from a state to the end of the run; see `lars_jax.train.fit`."""
        seed = self.config.seed if seed is None else seed
        shared = self.inputs.shared(self.inputs.train, seed)
        steps = self.inputs.total_steps
        batches = self.inputs.train_batches(
            start=start, stop=steps, seed=seed, interrupt=interrupt
        )
        return fit(
            lambda state, batch: self.program.train_step.under(
                interrupt, state, batch, shared
            ),
            state,
            batches,
            steps=steps,
            start=start,
            stride=self.config.steps_per_call,
            examples_per_step=self.config.global_batch,
            on_metrics=on_metrics,
            log_every=self.config.log_every,
            hooks=hooks,
            leaf_names=self._names,
            should_stop=lambda: interrupt.requested,
            ahead=steps_ahead(
                self.inputs.setting(),
                self.config.global_batch * self.config.steps_per_call,
            ),
        )

    def evaluate(
        self,
        state: TrainState,
        interrupt: Interrupt = NEVER,
        *,
        seed: int | None = None,
    ) -> dict[str, float]:
        """Return accuracy, loss and count over every evaluation example.

        Args:
            state: of a run.
            interrupt: may end it.
            seed: of that run, from whose images batch statistics are estimated; None:
                that of the configuration.

        Raises:
            Interrupted: a signal came.
        """
        state = self.evaluation_state(state, interrupt, seed=seed)
        return evaluate(
            self._measure(self.program.eval_step, state, interrupt),
            self.inputs.evaluation_batches(interrupt),
            expected=len(self.inputs.evaluation),
            should_stop=lambda: interrupt.requested,
        )

    def predict(
        self, state: TrainState, interrupt: Interrupt = NEVER
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the network makes of every evaluation example.

        Returns:
            Probabilities float32 [N, classes], and labels int32 [N].

        Raises:
            Interrupted: a signal came.
        """
        state = self.evaluation_state(state, interrupt)
        step = self._measure(self.program.predict, state, interrupt)
        batches = self.inputs.evaluation_batches(interrupt)
        parts = [jax.device_get(step(batch)) for batch in batches]
        probabilities, labels = map(np.concatenate, zip(*parts, strict=True))
        count = len(self.inputs.evaluation)
        return probabilities[:count], labels[:count]

    def evaluation_state(
        self,
        state: TrainState,
        interrupt: Interrupt = NEVER,
        *,
        seed: int | None = None,
    ) -> TrainState:
        """Return the state with the batch statistics that evaluation should use.

        Args:
            state: as of `evaluate`.
            interrupt: as of `evaluate`.
            seed: as of `evaluate`.

        Raises:
            Interrupted: a signal came.
        """
        choice = self.config.model.batch_statistics
        short = self.inputs.total_steps < ESTIMATE_BELOW
        estimates = choice == "estimated" or (choice == "auto" and short)
        if not estimates or not jax.tree.leaves(state.model_state):
            return state
        seed = self.config.seed if seed is None else seed
        shared = self.inputs.shared(self.inputs.train, seed)
        # One at a time: several programs in flight, each with its collectives, can
        # wait for one another for ever where many virtual devices share few threads.
        parts = [
            jax.block_until_ready(
                self.program.statistics.under(interrupt, state, batch, shared)
            )
            for batch in self.inputs.calibration_batches(seed=seed, interrupt=interrupt)
        ]
        return state._replace(model_state=merge_statistics(parts))

    def weights(self, state: TrainState) -> dict[str, Any]:
        """Return weights and batch statistics, as evaluation uses them."""
        state = self.evaluation_state(state)
        return {"params": state.params, "model_state": state.model_state}

    def about(self) -> dict[str, str]:
        """Return what shapes of weights do not tell of the network."""
        model = self.config.model
        names = ("network", "stride_in", "width", "stem_stride")
        return {name: str(getattr(model, name)) for name in names}

    def describe(self, state: TrainState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        inputs, config = self.inputs, self.config
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        processes = jax.process_count()
        among = "" if processes == 1 else f" in {processes} processes"
        yield (
            f"{config.model.network}, {parameters:,} parameters; "
            f"{config.data.dataset}: {len(inputs.train):,} images to train on, "
            f"{len(inputs.evaluation):,} to evaluate; {rule_name(config.optimizer)}, "
            f"global batch {config.global_batch}, {inputs.total_steps} steps on "
            f"{inputs.parallel.num_devices} x {jax.devices()[0].device_kind}{among}"
            + ("" if config.state_sharding == "none" else f", {config.state_sharding}")
        )
        yield self.parts

    def facts(self) -> dict[str, Any]:
        """Return what a start runs on."""
        return {
            "devices": self.inputs.parallel.num_devices,
            "backend": self.config.backend,
            "microbatches": self.config.microbatches,
        }

    def resolved(self) -> dict[str, Any]:
        """Return how the batch was cut, for the run's record."""
        return {
            "microbatches": self.config.microbatches,
            "bn_span": self.config.model.bn_span,
            "devices": self.inputs.parallel.num_devices,
            "reason": self.parts,
        }

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics, its loss and accuracy those of training."""
        row = plain(metrics)
        return {
            "epoch": step / self.inputs.steps_per_epoch,
            "train/loss": row.pop("loss"),
            "train/accuracy": row.pop("accuracy"),
            **row,
        }

    def layers(
        self, step: int, metrics: Mapping[str, Any]
    ) -> dict[str, dict[str, float]] | None:
        """Return norms, trust ratio and rate of every layer, now and then."""
        total = self.inputs.total_steps
        if step not in (1, total) and step % layer_interval(
            total, self.config.log_every
        ):
            return None
        return {
            name: dict(zip(FIELDS, values.tolist(), strict=True))
            for name, values in zip(self._names, metrics["layer_norms"], strict=True)
        }

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return (
            f"epoch {row['epoch']:.1f} loss {row['train/loss']:.3f} "
            f"lr {row['learning_rate']:.3g} {row['images_per_second']:.0f} images/s "
            f"wait {100 * row['data_wait']:.1f}%"
        )

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line."""
        return (
            f"accuracy {100 * evaluation['accuracy']:.2f} % of "
            f"{evaluation['count']:.0f}, loss {evaluation['loss']:.4f}"
        )

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the accuracy, by which the best checkpoint is kept."""
        return evaluation.get("accuracy")

    def on_finish(self, state: TrainState, files: Files, interrupt: Interrupt) -> None:
        """Write what the trained network gets wrong."""
        predictions = self.predict(state, interrupt)
        if files.writes:
            save_mistakes(files.directory, self.inputs, *predictions)

    def _steps(self, name: str) -> int:
        """Return a field in epochs as updates, of whole calls and at least one."""
        steps, call = self.inputs.steps_per_epoch, self.config.steps_per_call
        return max(1, round(getattr(self.config, name) * steps / call)) * call

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return leaf_names(self.program.shapes.params)

    def drawn(self, config: Config | None = None) -> TrainState:
        """Return the state at step 0 without weights of a file, of whatever length."""
        config = self.config if config is None else config
        inputs = self.inputs

        def draw(seed: jax.Array) -> TrainState:
            # A key made inside, so that several processes send one another no seed.
            return make_state(
                config,
                inputs.facts,
                self.program.network,
                jax.random.key(seed),
                total_steps=inputs.total_steps,
                steps_per_epoch=inputs.steps_per_epoch,
            )

        # Where it is split no device need ever hold the whole.
        places = shardings(self.program.shapes)
        return jax.jit(draw, out_shardings=places)(np.uint32(config.seed))

    def _measure(
        self, step: AheadOfTime, state: TrainState, interrupt: Interrupt
    ) -> Callable[[Any], Any]:
        """Return a step of a batch of evaluation data."""
        shared = self.inputs.shared(self.inputs.evaluation, self.config.seed)
        return lambda batch: step.under(interrupt, state, batch, shared)


def layer_interval(total: int, log_every: int) -> int:
    """Return the steps between rows of layer telemetry, a multiple of `log_every`.

    >>> layer_interval(1000, 1), layer_interval(1000, 7), layer_interval(50, 10)
    (10, 14, 10)
    """
    wanted = max(1, total // LAYER_ROWS)
    return -(-wanted // log_every) * log_every
