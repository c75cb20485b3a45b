"""A run between its start and its end: its state, and what is done with it when."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from experiments.lars.config import rule_name
from experiments.lars.results import save_mistakes, write_run_report
from experiments.lars.trainer import Trainer
from lars_jax.optim import FIELDS, leaf_names
from lars_jax.runs import Files, RunFiles
from lars_jax.runs.restoring import restore_newest
from lars_jax.train import Hook, Interrupt, Interrupted, TrainState, every
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.processes import Processes
from lars_jax.train.record import JsonLines, environment, lock, plain

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


class Session:
    """A run at work in its directory.

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
        self.trainer = trainer
        self.directory = directory
        self.evaluation: dict[str, float] = {}
        self.state, self.step = state, 0
        self._processes = processes
        self._interrupt = interrupt
        self._evaluated_at: int | None = None
        self._total = trainer.inputs.total_steps
        self._layers_due = every(
            layer_interval(self._total, trainer.config.log_every), self._total
        )
        # Closes what is open even where another part cannot be opened or closed.
        with contextlib.ExitStack() as stack:
            if processes.writes:
                stack.enter_context(lock(directory))
            self._checkpoints = open_checkpoints(directory, trainer)
            stack.callback(self._checkpoints.close)
            if resume:
                self._restore()
            self._names = leaf_names(self.state.params)
            self._files = Files()
            if processes.writes:
                start = self.step if resume else None
                self._files = RunFiles(
                    directory,
                    total=self._total,
                    start=start,
                    stack=stack,
                    describe=describe,
                    layers=True,
                )
                self._record_attempt()
            self._opened = stack.pop_all()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def run(self) -> bool:
        """Train to the end; return False if it was stopped, and saved, before."""
        try:
            self._train()
            stopped = self.step < self._total
            if not stopped:
                self._finish()
        except Interrupted:
            stopped = True
        if stopped:
            self._interrupt.honoured()
            self._stop()
        return not stopped

    def _train(self) -> None:
        self._announce()
        config = self.trainer.config
        evaluated, saved = (
            Hook(every(interval(self.trainer, epochs), self._total), act)
            for epochs, act in (
                (config.eval_every, self._eval),
                (config.checkpoint_every, self._save),
            )
        )
        if self.step and evaluated.due(self.step) and self._evaluated_at != self.step:
            # Stopped within this evaluation, which the run without a break completes.
            evaluated.run(self.step, self.state)
            if saved.due(self.step):
                self._checkpoints.drop(self.step)
                saved.run(self.step, self.state)
        self.state, self.step = self.trainer.fit(
            self.state,
            start=self.step,
            on_metrics=self._log,
            hooks=[evaluated, saved],
            interrupt=self._interrupt,
        )

    def _stop(self) -> None:
        """Save where the run is, and say how to go on."""
        self._save(self.step, self.state)
        self._checkpoints.wait()
        self._files.say(
            f"stopped and saved at step {self.step} of {self._total}; the same command "
            f"with --run-dir {self.directory} --resume goes on from there"
        )

    def _finish(self) -> None:
        """Write what can only be written at the end."""
        if not self.evaluation:
            self._recall()
        predictions = self.trainer.predict(self.state, self._interrupt)
        self._checkpoints.wait()
        if self._processes.writes:
            save_mistakes(self.directory, self.trainer.inputs, *predictions)
            self._files.say(f"report: {write_run_report(self.directory)}")

    def _recall(self) -> None:
        """Take the last evaluation from its checkpoint: the run had finished."""
        self.evaluation = self._checkpoints.metrics(self.step)
        if not self.evaluation:
            self._eval(self.step, self.state)

    def _announce(self) -> None:
        inputs, config = self.trainer.inputs, self.trainer.config
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        count = self._processes.count
        among = "" if self._processes.alone else f" in {count} processes"
        self._files.say(
            f"{config.model.network}, {parameters:,} parameters; "
            f"{config.data.dataset}: {len(inputs.train):,} images to train on, "
            f"{len(inputs.evaluation):,} to evaluate; {rule_name(config.optimizer)}, "
            f"global batch {config.global_batch}, {self._total} steps on "
            f"{inputs.parallel.num_devices} x {jax.devices()[0].device_kind}{among}"
            + ("" if config.state_sharding == "none" else f", {config.state_sharding}")
        )
        self._files.say(self.trainer.parts)
        self._files.say(f"run directory: {self.directory}")

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
        self._files.row(row)
        self._files.show(step, row)
        if step == 1 or self._layers_due(step):
            layers = {
                name: dict(zip(FIELDS, values.tolist(), strict=True))
                for name, values in zip(self._names, norms, strict=True)
            }
            self._files.layers({"step": step, "layers": layers})

    def _eval(self, step: int, state: TrainState) -> None:
        # Where it is stopped, this is what there is to save.
        self.state, self.step = state, step
        found = self.trainer.evaluate(state, self._interrupt)
        self.evaluation = {f"eval/{name}": value for name, value in found.items()}
        self._evaluated_at = step
        self._files.row({"step": step, **self.evaluation})
        self._files.say(
            f"step {step}/{self._total}: accuracy "
            f"{100 * self.evaluation['eval/accuracy']:.2f} % of "
            f"{self.evaluation['eval/count']:.0f}, loss "
            f"{self.evaluation['eval/loss']:.4f}"
        )

    def _save(self, step: int, state: TrainState) -> None:
        fresh = self._evaluated_at == step
        self._checkpoints.save(step, state, self.evaluation if fresh else {})

    def _record_attempt(self) -> None:
        """Note what this start or restart runs on: no number may depend on it."""
        path = self.directory / "attempts.jsonl"
        attempts = JsonLines(path)
        config = self.trainer.config
        attempts.append(
            {
                "step": self.step,
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "processes": self._processes.count,
                "devices": self.trainer.inputs.parallel.num_devices,
                "backend": config.backend,
                "microbatches": config.microbatches,
                "environment": environment(),
            }
        )
        attempts.close()

    def _restore(self) -> None:
        """Take the newest checkpoint that is whole, and set newer ones aside."""
        found = restore_newest(
            self._checkpoints, self.state, tell=self._processes.writes
        )
        if found is None:
            self.state = self.trainer.initial_state()
        else:
            self.step, self.state = found
        if self.step and self._checkpoints.metrics(self.step):
            self._evaluated_at = self.step
