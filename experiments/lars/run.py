"""One run in one directory: train, stop, go on, evaluate, report.

config.json      the configuration, and the environment it first ran in
attempts.jsonl   a row for each start and restart: where from, and on what
metrics.jsonl    a row for each logged step and each evaluation
layers.jsonl     norms, trust ratio and rate of every layer, now and then
events.*         the same scalars for TensorBoard
checkpoints/     the last two states, the best, and those that `keep_every` keeps
mistakes.npz     what the trained network got wrong
report.html      all of it to look at
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.lars.check import check
from experiments.lars.config import Config
from experiments.lars.microbatches import for_evaluation, freeze_auto, resolved
from experiments.lars.session import LarsSession, open_checkpoints
from experiments.lars.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.runs import TERMINATED, Resume, claim, goes_on, read_run, warn
from lars_jax.train import Interrupt, Interrupted, TrainState
from lars_jax.train.config import digest, from_json, to_json
from lars_jax.train.processes import Processes, on_first
from lars_jax.train.record import environment
from lars_jax.train.weights import check_place

PLACEMENT = ("devices", "backend", "microbatches", "device_memory", "state_sharding")
"""Fields that may change when a run goes on: they say where, and change no number."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, its last step, its last evaluation."""

    status: int
    step: int
    evaluation: dict[str, float]


def train(
    config: Config,
    directory: Path,
    *,
    name: str = "custom",
    resume: Resume = "no",
    processes: Processes | None = None,
    grace: float | None = None,
) -> Outcome:
    """Train a configuration in a directory, from the start or from a checkpoint.

    Args:
        config: what to train.
        directory: where everything is written; made if absent. Several processes see
            the same one.
        name: name of the preset, for the record.
        resume: go on from the last checkpoint that can be read.
        processes: those that train it together, as `join` returned them.
        grace: seconds after a signal in which a step must end; see `Interrupt`.

    Raises:
        InputError: the configuration cannot run, or the directory holds another run.
    """
    check(config)
    processes = processes or Processes()
    with Interrupt(grace=grace, alone=processes.alone) as interrupt:
        asked = to_json(config)
        answer = on_first(
            lambda: goes_on(asked, directory, resume, placement=PLACEMENT)
        )
        going_on = answer == "yes"
        try:
            # Before anything is written, in case data or weights cannot be read.
            trainer, state = interrupt.run(
                lambda: _prepare(freeze_auto(config, _resolved(directory)), going_on)
            )
        except Interrupted:
            warn("stopped before the first step: there is nothing new to save")
            return Outcome(interrupt.exit_status, 0, {})
        on_first(lambda: claim(directory, lambda: _record(config, trainer, name)))
        with LarsSession(
            trainer,
            directory,
            state,
            resume=going_on,
            processes=processes,
            interrupt=interrupt,
        ) as session:
            finished = session.run()
            evaluation = session.evaluation if finished else {}
            # One of several processes stops for a signal that another has heard.
            status = interrupt.exit_status or (0 if finished else TERMINATED)
            return Outcome(status, session.step, evaluation)


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
    trainer = Trainer.create(
        for_evaluation(load_config(directory), _resolved(directory))
    )
    checkpoints = open_checkpoints(directory, trainer)
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


def _resolved(directory: Path) -> dict[str, Any]:
    """Return what the record of a run, if it has one, keeps of how it was cut."""
    begun = (directory / "config.json").exists()
    return read_run(directory).get("resolved", {}) if begun else {}


def _prepare(config: Config, resume: bool) -> tuple[Trainer, TrainState]:
    trainer = Trainer.create(config)
    return trainer, trainer.drawn_state() if resume else trainer.initial_state()


def _record(config: Config, trainer: Trainer, name: str) -> dict[str, Any]:
    return {
        "preset": name,
        "digest": digest(config),
        "config": to_json(config),
        "resolved": resolved(
            trainer.config, trainer.inputs.parallel.num_devices, trainer.parts
        ),
        "environment": environment(),
    }
