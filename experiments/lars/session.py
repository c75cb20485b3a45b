"""A run between its start and its end: its state, and what is done with it when."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.lars.config import rule_name
from experiments.lars.results import save_mistakes, write_run_report
from experiments.lars.trainer import Trainer
from lars_jax.optim import FIELDS, leaf_names
from lars_jax.runs import Files, RunFiles
from lars_jax.runs.restoring import restore_newest
from lars_jax.runs.session import Session
from lars_jax.train import Hook, Interrupt, TrainState, every
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.processes import Processes
from lars_jax.train.record import lock, plain

LAYER_ROWS = 100
"""Rows of layer telemetry that a run leaves, or all that it logs where that is less."""

BEST = "eval/accuracy"
"""Metric whose best checkpoint is kept."""


def layer_interval(total: int, log_every: int) -> int:
    """Return the steps between rows of layer telemetry, a multiple of `log_every`.

    >>> layer_interval(1000, 1), layer_interval(1000, 7), layer_interval(50, 10)
    (10, 14, 10)
    """
    wanted = max(1, total // LAYER_ROWS)
    return -(-wanted // log_every) * log_every


def describe(metrics: Mapping[str, Any]) -> str:
    """Return a row of metrics as a short line.

    >>> describe({"epoch": 1.5, "train/loss": 0.25, "learning_rate": 2.0,
    ...           "images_per_second": 812.3, "data_wait": 0.015})
    'epoch 1.5 loss 0.250 lr 2 812 images/s wait 1.5%'
    """
    return (
        f"epoch {metrics['epoch']:.1f} loss {metrics['train/loss']:.3f} "
        f"lr {metrics['learning_rate']:.3g} "
        f"{metrics['images_per_second']:.0f} images/s "
        f"wait {100 * metrics['data_wait']:.1f}%"
    )


def open_checkpoints(directory: Path, trainer: Trainer) -> Checkpoints:
    """Return the checkpoints of a run: the last two, the best, and those kept."""
    config = trainer.config
    keep_every = None
    if config.keep_every is not None:
        saves = round(config.keep_every / config.checkpoint_every)
        keep_every = saves * interval(trainer, config.checkpoint_every)
    return Checkpoints(directory / "checkpoints", best=BEST, keep_every=keep_every)


def interval(trainer: Trainer, epochs: float) -> int:
    """Return a number of epochs in whole updates, at least one."""
    return max(1, round(epochs * trainer.inputs.steps_per_epoch))


class LarsSession(Session):
    """A run of this experiment at work in its directory.

    Args:
        trainer: the configuration with its data and its program.
        directory: where everything is written; exists.
        state: the state at step 0, in whose likeness checkpoints are restored.
        resume: go on from the last checkpoint that is whole.
        processes: those that run it, of which one writes.
        interrupt: asks to stop.
    """

    def __init__(
        self,
        trainer: Trainer,
        directory: Path,
        state: TrainState,
        *,
        resume: bool,
        processes: Processes,
        interrupt: Interrupt,
    ):
        super().__init__(directory, state, trainer.inputs.total_steps, interrupt)
        self.trainer = trainer
        self._processes = processes
        self._layers_due = every(
            layer_interval(self.total, trainer.config.log_every), self.total
        )
        # Closes what is open even where another part cannot be opened or closed.
        with contextlib.ExitStack() as stack:
            if processes.writes:
                stack.enter_context(lock(directory))
            self.checkpoints = open_checkpoints(directory, trainer)
            stack.callback(self.checkpoints.close)
            if resume:
                self._restore()
            self._names = leaf_names(self.state.params)
            self.files = Files()
            if processes.writes:
                start = self.step if resume else None
                self.files = RunFiles(
                    directory,
                    total=self.total,
                    start=start,
                    stack=stack,
                    describe=describe,
                    layers=True,
                )
                self.record_attempt(
                    processes=processes.count,
                    devices=trainer.inputs.parallel.num_devices,
                    backend=trainer.config.backend,
                    microbatches=trainer.config.microbatches,
                )
            self.opened = stack.pop_all()

    @property
    def intervals(self) -> tuple[int, int]:
        """Steps between evaluations, and between checkpoints."""
        config = self.trainer.config
        return (
            interval(self.trainer, config.eval_every),
            interval(self.trainer, config.checkpoint_every),
        )

    def fit(self, hooks: Sequence[Hook]) -> tuple[TrainState, int]:
        """Train from `state`, and return the last state and its step."""
        return self.trainer.fit(
            self.state,
            start=self.step,
            on_metrics=self._log,
            hooks=hooks,
            interrupt=self.interrupt,
        )

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Return accuracy, loss and count of a state."""
        found = self.trainer.evaluate(state, self.interrupt)
        return {f"eval/{name}": value for name, value in found.items()}

    def tell(self, evaluation: Mapping[str, float]) -> str:
        """Return an evaluation as a short line."""
        return (
            f"accuracy {100 * evaluation['eval/accuracy']:.2f} % of "
            f"{evaluation['eval/count']:.0f}, loss {evaluation['eval/loss']:.4f}"
        )

    def finish(self) -> None:
        """Write what can only be written at the end."""
        if not self.evaluation:
            self._recall()
        predictions = self.trainer.predict(self.state, self.interrupt)
        self.checkpoints.wait()
        if self._processes.writes:
            save_mistakes(self.directory, self.trainer.inputs, *predictions)
            self.files.say(f"report: {write_run_report(self.directory)}")

    def _recall(self) -> None:
        """Take the last evaluation from its checkpoint: the run had finished."""
        self.evaluation = self.checkpoints.metrics(self.step)
        if not self.evaluation:
            self.measure(self.step, self.state)

    def announce(self) -> None:
        """Say what is about to run."""
        inputs, config = self.trainer.inputs, self.trainer.config
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        count = self._processes.count
        among = "" if self._processes.alone else f" in {count} processes"
        self.files.say(
            f"{config.model.network}, {parameters:,} parameters; "
            f"{config.data.dataset}: {len(inputs.train):,} images to train on, "
            f"{len(inputs.evaluation):,} to evaluate; {rule_name(config.optimizer)}, "
            f"global batch {config.global_batch}, {self.total} steps on "
            f"{inputs.parallel.num_devices} x {jax.devices()[0].device_kind}{among}"
            + ("" if config.state_sharding == "none" else f", {config.state_sharding}")
        )
        self.files.say(self.trainer.parts)
        self.files.say(f"run directory: {self.directory}")

    def _log(self, step: int, metrics: dict[str, Any]) -> None:
        inputs = self.trainer.inputs
        norms = metrics.pop("layer_norms")
        row = plain(metrics)
        row = {
            "step": step,
            "epoch": step / inputs.steps_per_epoch,
            "train/loss": row.pop("loss"),
            "train/accuracy": row.pop("accuracy"),
            **row,
        }
        self.files.row(row)
        self.files.show(step, row)
        if step == 1 or self._layers_due(step):
            layers = {
                name: dict(zip(FIELDS, values.tolist(), strict=True))
                for name, values in zip(self._names, norms, strict=True)
            }
            self.files.layers({"step": step, "layers": layers})

    def _restore(self) -> None:
        """Take the newest checkpoint that is whole, and set newer ones aside."""
        found = restore_newest(
            self.checkpoints, self.state, tell=self._processes.writes
        )
        if found is None:
            self.state = self.trainer.initial_state()
        else:
            self.step, self.state = found
        if self.step and self.checkpoints.metrics(self.step):
            self.evaluated_at = self.step
