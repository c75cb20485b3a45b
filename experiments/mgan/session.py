"""A game between its start and its end: its state, and what is done with it when."""

import contextlib
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from experiments.mgan.evaluation import Evaluate, make_floor
from experiments.mgan.gallery import make_gallery
from experiments.mgan.game import GameState
from experiments.mgan.results import save_gallery, write_game_page
from experiments.mgan.snapshots import save_snapshot, take_snapshot
from experiments.mgan.trainer import Trainer
from lars_jax.runs import RunFiles
from lars_jax.runs.restoring import restore_newest
from lars_jax.train import Hook, Interrupt, Interrupted, every
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.record import JsonLines, environment, lock, plain, read_lines

BEST = "nearness"
"""Metric whose best checkpoint is kept: minus the distance from the data, if known."""

DISTANCES = ("eval/average/wasserstein", "eval/average/fid", "eval/average/distance")
"""Names that the distance from the data may have among the metrics."""


def open_checkpoints(directory: Path) -> Checkpoints:
    """Return the checkpoints of a run: the last two and the best."""
    return Checkpoints(directory / "checkpoints", best=BEST)


class Session:
    """A game at work in its directory.

    Args:
        trainer: the configuration with its data and its program.
        directory: where everything is written; exists.
        state: the state before the first step, in whose likeness checkpoints are read.
        evaluate: measures a state.
        resume: go on from the last checkpoint that is whole.
        interrupt: asks to stop.
    """

    def __init__(
        self,
        trainer: Trainer,
        directory: Path,
        state: GameState,
        evaluate: Evaluate,
        *,
        resume: bool,
        interrupt: Interrupt,
    ):
        self.trainer = trainer
        self.directory = directory
        self.state, self.step = state, 0
        self.evaluation: dict[str, float] = {}
        self._total = trainer.config.steps
        self._interrupt = interrupt
        self._evaluate = evaluate
        self._evaluated_at: int | None = None
        # Closes what is open even where another part cannot be opened or closed.
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock(directory))
            self._checkpoints = open_checkpoints(directory)
            stack.callback(self._checkpoints.close)
            if resume and (found := restore_newest(self._checkpoints, state)):
                self.step, self.state = found
                if self._checkpoints.metrics(self.step):
                    self._evaluated_at = self.step
            start = self.step if resume else None
            self._files = RunFiles(
                directory,
                total=self._total,
                start=start,
                stack=stack,
                describe=describe,
            )
            self._record_attempt()
            self._opened = stack.pop_all()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def run(self) -> bool:
        """Play to the end; return False if it was stopped, and saved, before."""
        try:
            self._play()
            stopped = self.step < self._total
            if not stopped:
                self._finish()
        except Interrupted:
            stopped = True
        if stopped:
            self._interrupt.honoured()
            self._stop()
        return not stopped

    def _play(self) -> None:
        self._announce()
        config = self.trainer.config
        evaluated, saved = (
            Hook(every(steps, self._total), act)
            for steps, act in (
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
        """Save where the game is, and say how to go on."""
        self._save(self.step, self.state)
        self._checkpoints.wait()
        self._files.say(
            f"stopped and saved at step {self.step} of {self._total}; the same command "
            f"with --run-dir {self.directory} --resume goes on from there"
        )

    def _finish(self) -> None:
        """Write what can only be written at the end."""
        if not self.evaluation:
            self.evaluation = self._checkpoints.metrics(self.step)
        if self.trainer.inputs.image is not None:
            make = partial(make_gallery, self.trainer, self.state)
            save_gallery(self.directory, self._interrupt.run(make))
        self._checkpoints.wait()
        self._files.say(f"report: {write_game_page(self.directory)}")

    def _announce(self) -> None:
        config, state = self.trainer.config, self.state
        generators, judge = (
            sum(leaf.size for leaf in jax.tree.leaves(params))
            for params in (state.generators.params, state.judge.params)
        )
        self._files.say(
            f"{config.rules.game}, {config.rules.generators} generators of "
            f"{generators:,} parameters in all against {judge:,}; "
            f"{self.trainer.inputs.name}; batch {config.batch}, {config.fakes} samples "
            f"of each generator, {self._total:,} steps on "
            f"{self.trainer.parallel.num_devices} x {jax.devices()[0].device_kind}"
        )
        if self._evaluate.note:
            self._files.say(self._evaluate.note)
        self._files.say(f"run directory: {self.directory}")
        # A run that was stopped before its first call has the floor already.
        if next(read_lines(self.directory / "metrics.jsonl"), None) is None and (
            floor := make_floor(self.trainer)
        ):
            self._files.row({"step": 0, **floor})

    def _log(self, step: int, metrics: dict[str, Any]) -> None:
        row = {"step": step, **plain(metrics)}
        row["steps_per_second"] = row["images_per_second"] / self.trainer.config.batch
        self._files.row(row)
        self._files.show(step, row)

    def _eval(self, step: int, state: GameState) -> None:
        # Where it is stopped, this is what there is to save.
        self.state, self.step = state, step
        self._interrupt.check()
        save_snapshot(self.directory, take_snapshot(self.trainer, state))
        self.evaluation = self._interrupt.run(partial(self._evaluate, state))
        self._evaluated_at = step
        self._files.row({"step": step, **self.evaluation})
        self._files.say(
            f"step {step}/{self._total}: {tell_evaluation(self.evaluation)}"
        )

    def _save(self, step: int, state: GameState) -> None:
        fresh = self.evaluation if self._evaluated_at == step else {}
        known = [fresh[name] for name in DISTANCES if name in fresh]
        score = {BEST: -known[0]} if known else {}
        self._checkpoints.save(step, state, fresh | score)

    def _record_attempt(self) -> None:
        """Note what this start or restart runs on: no number may depend on it."""
        attempts = JsonLines(self.directory / "attempts.jsonl")
        attempts.append(
            {
                "step": self.step,
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "devices": self.trainer.parallel.num_devices,
                "environment": environment(),
            }
        )
        attempts.close()


def describe(row: Mapping[str, Any]) -> str:
    """Return a row of metrics as a short line.

    >>> describe({"discriminator_loss": 1.386, "generator_loss": 0.693,
    ...           "classifier_loss": 0.02, "steps_per_second": 250.4})
    'D 1.386 G 0.693 C 0.020 250 steps/s'
    """
    names = {"D": "discriminator_loss", "G": "generator_loss", "C": "classifier_loss"}
    losses = [f"{name} {row[key]:.3f}" for name, key in names.items() if key in row]
    return " ".join([*losses, f"{row['steps_per_second']:.3g} steps/s"])


def tell_evaluation(found: Mapping[str, float]) -> str:
    """Return an evaluation as a short line, the averaged generators in brackets.

    >>> tell_evaluation({"eval/count": 100.0, "eval/wasserstein": 0.1,
    ...                  "eval/average/wasserstein": 0.05})
    '100 samples, wasserstein 0.100 (0.050)'
    """
    parts = [f"{found['eval/count']:.0f} samples"]
    for name, value in found.items():
        plain_name = name.removeprefix("eval/")
        if "/" in plain_name or plain_name == "count":
            continue
        average = found.get(f"eval/average/{plain_name}")
        beside = "" if average is None else f" ({average:.3f})"
        parts.append(f"{plain_name.replace('_', ' ')} {value:.3f}{beside}")
    return ", ".join(parts)
