"""One game in one directory: play, stop, go on, evaluate, report.

config.json      the configuration, and the environment it first ran in
attempts.jsonl   a row for each start and restart: where from, and on what
metrics.jsonl    a row for each call of the program, and one for each evaluation
events.*         the same scalars for TensorBoard
samples/         a few samples at each evaluation
checkpoints/     the last two states and the best
gallery.npz      what the report shows of the end
report.html      all of it to look at, and the pictures as PNG or SVG beside it
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax

from experiments.mgan.check import check
from experiments.mgan.config import Config, replace
from experiments.mgan.evaluation import Evaluate, make_evaluation
from experiments.mgan.game import GameState
from experiments.mgan.inputs import to_bytes
from experiments.mgan.session import GameSession, open_checkpoints
from experiments.mgan.snapshots import write_arrays
from experiments.mgan.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.runs import Resume, claim, goes_on, read_run, warn
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import digest, from_json, to_json
from lars_jax.train.record import environment
from lars_jax.train.weights import check_place, save_weights

PLACEMENT = ("devices",)
"""Fields that may change when a run goes on: they say where, and change no number."""

DRAW_USE = 2
"""Tells samples that are asked for from those that are measured or shown."""


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
    grace: float | None = None,
) -> Outcome:
    """Play a configuration in a directory, from the start or from a checkpoint.

    Args:
        config: the game.
        directory: where everything is written; made if absent.
        name: name of the preset, for the record.
        resume: go on from the last checkpoint that can be read.
        grace: seconds after a signal in which a call must end; see `Interrupt`.

    Raises:
        InputError: the configuration cannot run, or the directory holds another run.
    """
    check(config)
    with Interrupt(grace=grace) as interrupt:
        going_on = goes_on(to_json(config), directory, resume, placement=PLACEMENT)
        try:
            # Before anything is written, in case data cannot be read.
            trainer, state, evaluation = interrupt.run(lambda: _prepare(config))
        except Interrupted:
            warn("stopped before the first step: there is nothing new to save")
            return Outcome(interrupt.exit_status, 0, {})
        claim(
            directory,
            lambda: {
                "preset": name,
                "digest": digest(config),
                "config": to_json(config),
                "environment": environment(),
            },
        )
        with GameSession(
            trainer,
            directory,
            state,
            evaluation,
            resume=bool(going_on),
            interrupt=interrupt,
        ) as session:
            finished = session.run()
            found = session.evaluation if finished else {}
            return Outcome(interrupt.exit_status, session.step, found)


def evaluate(
    directory: Path,
    *,
    which: str = "last",
    say: Callable[[str], None] = lambda line: None,
    **changes: object,
) -> dict[str, float]:
    """Measure the last or the best checkpoint of a run.

    Args:
        directory: of the run.
        which: `last` or `best`.
        say: is told what the numbers are measured by, where their names do not tell.
        **changes: fields of the configuration that matter to evaluation alone, such as
            `eval_samples` and `features`.

    Raises:
        InputError: the directory holds no run or no checkpoint.
    """
    trainer, step, state = restored(directory, which, **changes)
    measure = make_evaluation(trainer)
    if measure.note:
        say(measure.note)
    return {"step": float(step)} | measure(state)


def draw(directory: Path, path: Path, count: int, *, which: str, averaged: bool) -> int:
    """Write samples of a checkpoint to a file and return its step.

    The file holds `values`, points float32 [N, 2] or images uint8 [N, S, S, channels],
    and `generator`, which of them made each, int64 [N].

    Raises:
        InputError: the directory holds no run or no checkpoint, the file is no .npz, or
            no samples are asked for.
    """
    if path.suffix != ".npz" or not path.parent.is_dir() or path.is_dir():
        raise InputError(
            f"samples are written to a file *.npz in a directory that is there; got "
            f"{path}: name another"
        )
    if count < 1:
        raise InputError(f"samples must be above 0; got {count}: mend --samples")
    trainer, step, state = restored(directory, which)
    values, generator = trainer.sample(state, count, averaged=averaged, use=DRAW_USE)
    if trainer.inputs.image is not None:
        values = to_bytes(values)
    write_arrays(path, {"values": values, "generator": generator})
    return step


def export(directory: Path, path: Path, *, which: str = "last") -> int:
    """Write the averaged generators of a checkpoint to a file and return its step.

    Raises:
        InputError: the directory holds no run or no checkpoint, or the file is of
            another kind.
    """
    check_place(path)
    trainer, step, state = restored(directory, which)
    params, model_state = trainer.made_by(state, averaged=True)
    weights = {"params": params, "model_state": model_state}
    save_weights(path, weights)
    return step


def restored(
    directory: Path, which: str, **changes: object
) -> tuple[Trainer, int, GameState]:
    """Return the trainer of a run, and the last or the best state that it kept.

    Raises:
        InputError: the directory holds no run or no checkpoint.
    """
    config = check(replace(load_config(directory), **changes))
    if config.devices is not None and config.devices > jax.device_count():
        # Where there are fewer devices than it was played on, those there are serve.
        config = replace(config, devices=None)
    # Opened, they would be made; and without one no data need be read.
    if not any((directory / "checkpoints").glob("[0-9]*")):
        raise _no_checkpoint(directory)
    trainer = Trainer.create(config)
    checkpoints = open_checkpoints(directory)
    try:
        step = checkpoints.best_step() if which == "best" else checkpoints.last_step()
        if step is None:
            raise _no_checkpoint(directory)
        return trainer, step, checkpoints.restore(step, trainer.initial_state())
    finally:
        checkpoints.close()


def load_config(directory: Path) -> Config:
    """Return the configuration of the run in a directory.

    Raises:
        InputError: there is none, or another version wrote it.
    """
    return from_json(Config, read_run(directory)["config"])


def _no_checkpoint(directory: Path) -> InputError:
    return InputError(
        f"a run must have a checkpoint to read; {directory} has none: train it first"
    )


def _prepare(config: Config) -> tuple[Trainer, GameState, Evaluate]:
    trainer = Trainer.create(config)
    # First what may be refused, then what takes long to compile.
    evaluation = make_evaluation(trainer)
    return trainer, trainer.initial_state(), evaluation
