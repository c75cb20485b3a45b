"""One run in one directory: train, stop, go on, evaluate, report.

config.json      the configuration, and the environment it first ran in
metrics.jsonl    a row for each logged step and each evaluation
layers.jsonl     norms, trust ratio and rate of every layer, now and then
events.*         the same scalars for TensorBoard
checkpoints/     the last two states and the best
mistakes.npz     what the trained network got wrong
report.html      all of it to look at
"""

import contextlib
import datetime
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments.lars.check import check
from experiments.lars.config import Config, rule_name
from experiments.lars.results import read_run, save_mistakes, write_run_report
from experiments.lars.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.optim import FIELDS, leaf_names
from lars_jax.train import Hook, Interrupt, TrainState, every
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.config import difference, digest, from_json, to_json
from lars_jax.train.progress import Progress
from lars_jax.train.record import (
    Events,
    JsonLines,
    environment,
    lock,
    plain,
    read_lines,
    write_json,
)
from lars_jax.train.weights import check_place

LAYER_ROWS = 100
"""Rows of layer telemetry that a run leaves, or all that it logs where that is less."""


BEST = "eval/accuracy"
"""Metric whose best checkpoint is kept."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, its last step, its last evaluation."""

    status: int
    step: int
    evaluation: dict[str, float]


def layer_interval(total: int, log_every: int) -> int:
    """Return the steps between rows of layer telemetry, a multiple of `log_every`.

    >>> layer_interval(1000, 1), layer_interval(1000, 7), layer_interval(50, 10)
    (10, 14, 10)
    """
    wanted = max(1, total // LAYER_ROWS)
    return -(-wanted // log_every) * log_every


def default_directory(name: str) -> Path:
    """Return a dated directory under `runs/` for a preset."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{now}-{name}"


def train(
    config: Config, directory: Path, *, name: str = "custom", resume: bool = False
) -> Outcome:
    """Train a configuration in a directory, from the start or from a checkpoint.

    Args:
        config: what to train.
        directory: where everything is written; made if absent.
        name: name of the preset, for the record.
        resume: go on from the last checkpoint that can be read.

    Raises:
        InputError: the configuration cannot run, or the directory holds another run.
    """
    check(config)
    with Interrupt() as interrupt:
        _check_directory(config, directory, resume=resume)
        trainer = Trainer.create(config)
        # Before anything is written, in case weights to begin with cannot be read.
        state = trainer.drawn_state() if resume else trainer.initial_state()
        _claim(config, directory, name)
        with _Session(trainer, directory, state, resume=resume) as session:
            session.run(interrupt)
            if interrupt.requested:
                session.stop()
                return Outcome(interrupt.exit_status, session.step, {})
            session.finish()
            # Heard while the report was being written: there is nothing left to stop.
            return Outcome(interrupt.exit_status, session.step, session.evaluation)


def evaluate(directory: Path, *, which: str = "last") -> dict[str, float]:
    """Evaluate the last or the best checkpoint of a run.

    Raises:
        InputError: the directory holds no run or no checkpoint.
    """
    trainer, step, state = _restored(directory, which)
    return {"step": step} | trainer.evaluate(state)


def export(directory: Path, path: Path, *, which: str = "last") -> int:
    """Write the weights of a checkpoint to a plain file and return its step.

    Raises:
        InputError: the directory holds no run or no checkpoint, or the file is of
            another kind.
    """
    check_place(path)
    trainer, step, state = _restored(directory, which)
    trainer.export(state, path)
    return step


def _restored(directory: Path, which: str) -> tuple[Trainer, int, TrainState]:
    """Return the trainer of a run, and the last or the best state that it kept."""
    config = load_config(directory)
    trainer = Trainer.create(config)
    checkpoints = Checkpoints(directory / "checkpoints", best=BEST)
    try:
        step = checkpoints.best_step() if which == "best" else checkpoints.last_step()
        if step is None:
            raise InputError(
                f"a run must have a checkpoint to read; {directory} has none: train "
                "it first"
            )
        return trainer, step, checkpoints.restore(step, trainer.drawn_state())
    finally:
        checkpoints.close()


def load_config(directory: Path) -> Config:
    """Return the configuration of the run in a directory.

    Raises:
        InputError: there is none, or another version wrote it.
    """
    return from_json(Config, read_run(directory)["config"])


def _check_directory(config: Config, directory: Path, *, resume: bool) -> None:
    path = directory / "config.json"
    if not path.exists():
        if resume:
            raise InputError(
                f"--resume needs a run to go on with; {directory} has no config.json: "
                "leave --resume out, or name another --run-dir"
            )
        return
    changes = difference(read_run(directory)["config"], to_json(config))
    if changes:
        raise InputError(
            f"a run directory holds one configuration; in {directory} "
            f"{'; '.join(changes)}: undo the change, or name another --run-dir"
        )
    if not resume:
        raise InputError(
            f"a run directory is written once; {directory} already holds this run: "
            "add --resume to go on, or name another --run-dir"
        )


def _claim(config: Config, directory: Path, name: str) -> None:
    path = directory / "config.json"
    if path.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    record = {
        "preset": name,
        "digest": digest(config),
        "config": to_json(config),
        "environment": environment(),
    }
    write_json(path, record)


class _Session:
    """The open files of a run, and the state between its start and its end."""

    def __init__(
        self, trainer: Trainer, directory: Path, state: TrainState, *, resume: bool
    ):
        self.trainer = trainer
        self.directory = directory
        self.evaluation: dict[str, float] = {}
        self._evaluated_at = 0
        self._total = trainer.inputs.total_steps
        self._layers_due = every(
            layer_interval(self._total, trainer.config.log_every), self._total
        )
        self._started = time.perf_counter()
        self.state, self.step = state, 0
        # Closes what is open even where another part cannot be opened or closed.
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock(directory))
            self._checkpoints = Checkpoints(directory / "checkpoints", best=BEST)
            stack.callback(self._checkpoints.close)
            if resume:
                self._restore()
            self._names = leaf_names(self.state.params)
            kept = self.step if resume else None
            self._metrics = JsonLines(directory / "metrics.jsonl", keep_to=kept)
            stack.callback(self._metrics.close)
            self._layers = JsonLines(directory / "layers.jsonl", keep_to=kept)
            stack.callback(self._layers.close)
            self._events = Events(directory, resumed_from=kept)
            stack.callback(self._events.close)
            self._progress = Progress(self._total, start=self.step)
            stack.callback(self._progress.close)
            self._opened = stack.pop_all()

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def run(self, interrupt: Interrupt) -> None:
        """Train to the end, or until interrupted."""
        config, inputs = self.trainer.config, self.trainer.inputs

        def steps(epochs: float) -> int:
            return max(1, round(epochs * inputs.steps_per_epoch))

        self._announce()
        hooks = [
            Hook(every(steps(config.eval_every), self._total), self._evaluate),
            Hook(every(steps(config.checkpoint_every), self._total), self._save),
        ]
        self.state, self.step = self.trainer.fit(
            self.state,
            start=self.step,
            on_metrics=self._log,
            hooks=hooks,
            should_stop=lambda: interrupt.requested,
        )

    def stop(self) -> None:
        """Save where the run is, and say how to go on."""
        self._save(self.step, self.state)
        self._checkpoints.wait()
        self._progress.say(
            f"stopped and saved at step {self.step} of {self._total}; the same command "
            f"with --run-dir {self.directory} --resume goes on from there"
        )

    def finish(self) -> None:
        """Write what can only be written at the end."""
        if not self.evaluation:
            self._recall()
        save_mistakes(self.directory, self.trainer, self.state)
        path = write_run_report(self.directory)
        self._progress.say(f"report: {path}")

    def _recall(self) -> None:
        """Take the last evaluation from the record: the run had already finished."""
        for row in read_lines(self.directory / "metrics.jsonl"):
            if row["step"] == self.step and "eval/accuracy" in row:
                self.evaluation = {k: row[k] for k in row if k.startswith("eval/")}
                return
        self._evaluate(self.step, self.state)

    def _announce(self) -> None:
        inputs, config = self.trainer.inputs, self.trainer.config
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        self._progress.say(
            f"{config.model.network}, {parameters:,} parameters; "
            f"{config.data.dataset}: {len(inputs.train):,} images to train on, "
            f"{len(inputs.evaluation):,} to evaluate; {rule_name(config.optimizer)}, "
            f"global batch {config.global_batch}, {self._total} steps on "
            f"{inputs.parallel.num_devices} x {jax.devices()[0].device_kind}"
            + ("" if config.state_sharding == "none" else f", {config.state_sharding}")
        )
        self._progress.say(f"run directory: {self.directory}")

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
        self._write(row)
        self._progress.update(step, row)
        if step == 1 or self._layers_due(step):
            layers = {
                name: dict(zip(FIELDS, values.tolist(), strict=True))
                for name, values in zip(self._names, norms, strict=True)
            }
            self._layers.append({"step": step, "layers": layers})

    def _evaluate(self, step: int, state: TrainState) -> None:
        self.evaluation = {
            f"eval/{name}": value
            for name, value in self.trainer.evaluate(state).items()
        }
        self._write({"step": step, **self.evaluation})
        self._events.flush()
        self._progress.say(
            f"step {step}/{self._total}: accuracy "
            f"{100 * self.evaluation['eval/accuracy']:.2f} % of "
            f"{self.evaluation['eval/count']:.0f}, loss "
            f"{self.evaluation['eval/loss']:.4f}"
        )
        self._evaluated_at = step

    def _save(self, step: int, state: TrainState) -> None:
        fresh = self._evaluated_at == step
        self._checkpoints.save(step, state, self.evaluation if fresh else {})

    def _write(self, row: dict[str, Any]) -> None:
        self._metrics.append(row)
        self._events.write(row)

    def _restore(self) -> None:
        """Take the newest checkpoint that is whole, and set newer ones aside."""
        like, broken = self.state, {}
        for step in reversed(self._checkpoints.steps()):
            try:
                self.state = self._checkpoints.restore(step, like)
                self.step = step
                break
            except InputError as error:
                broken[step] = error
        else:
            if broken:
                raise next(iter(broken.values()))
            self.state = self.trainer.initial_state()
        for step, error in broken.items():
            place = self._checkpoints.set_aside(step)
            print(f"{error}; moved it to {place}", file=sys.stderr)
