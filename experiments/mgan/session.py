"""A game between its start and its end: its state, and what is done with it when."""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from experiments.mgan.evaluation import Evaluate, true_score
from experiments.mgan.gallery import make_gallery
from experiments.mgan.game import GameState
from experiments.mgan.results import save_gallery, write_game_page
from experiments.mgan.snapshots import save_snapshot, take_snapshot
from experiments.mgan.trainer import Trainer
from lars_jax.runs import RunFiles
from lars_jax.runs.restoring import restore_newest
from lars_jax.runs.session import Session
from lars_jax.train import Hook, Interrupt
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.record import lock, plain, read_lines

BEST = "nearness"
"""Metric whose best checkpoint is kept: minus the distance from the data, if known."""

DISTANCES = ("eval/average/wasserstein", "eval/average/fid", "eval/average/distance")
"""Names that the distance from the data may have among the metrics."""


def open_checkpoints(directory: Path) -> Checkpoints:
    """Return the checkpoints of a run: the last two and the best."""
    return Checkpoints(directory / "checkpoints", best=BEST)


class GameSession(Session):
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
        super().__init__(directory, state, trainer.config.steps, interrupt)
        self.trainer = trainer
        self._evaluate = evaluate
        # Closes what is open even where another part cannot be opened or closed.
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock(directory))
            self.checkpoints = open_checkpoints(directory)
            stack.callback(self.checkpoints.close)
            if resume and (found := restore_newest(self.checkpoints, state)):
                self.step, self.state = found
                if self.checkpoints.metrics(self.step):
                    self.evaluated_at = self.step
            start = self.step if resume else None
            self.files = RunFiles(
                directory,
                total=self.total,
                start=start,
                stack=stack,
                describe=describe,
            )
            self.record_attempt(devices=trainer.parallel.num_devices)
            self.opened = stack.pop_all()

    @property
    def intervals(self) -> tuple[int, int]:
        """Steps between evaluations, and between checkpoints."""
        return self.trainer.config.eval_every, self.trainer.config.checkpoint_every

    def fit(self, hooks: Sequence[Hook]) -> tuple[GameState, int]:
        """Play from `state`, and return the last state and its step."""
        return self.trainer.fit(
            self.state,
            start=self.step,
            on_metrics=self._log,
            hooks=hooks,
            interrupt=self.interrupt,
        )

    def evaluate(self, state: GameState) -> dict[str, float]:
        """Return the measures of a state, and leave some of its samples."""
        self.interrupt.check()
        save_snapshot(self.directory, take_snapshot(self.trainer, state))
        return self.interrupt.run(partial(self._evaluate, state))

    def tell(self, evaluation: Mapping[str, float]) -> str:
        """Return an evaluation as a short line."""
        return tell_evaluation(evaluation)

    def kept_with(self, evaluation: Mapping[str, float]) -> dict[str, float]:
        """Return an evaluation with the score by which the best is kept."""
        known = [evaluation[name] for name in DISTANCES if name in evaluation]
        return dict(evaluation) | ({BEST: -known[0]} if known else {})

    def finish(self) -> None:
        """Write what can only be written at the end."""
        if not self.evaluation:
            self.evaluation = self.checkpoints.metrics(self.step)
        if self.trainer.inputs.image is not None:
            make = partial(make_gallery, self.trainer, self.state)
            save_gallery(self.directory, self.interrupt.run(make))
        self.checkpoints.wait()
        self.files.say(f"report: {write_game_page(self.directory)}")

    def announce(self) -> None:
        """Say what is about to run."""
        config, state = self.trainer.config, self.state
        generators, judge = (
            sum(leaf.size for leaf in jax.tree.leaves(params))
            for params in (state.generators.params, state.judge.params)
        )
        self.files.say(
            f"{config.rules.game}, {config.rules.generators} generators of "
            f"{generators:,} parameters in all against {judge:,}; "
            f"{self.trainer.inputs.name}; batch {config.batch}, {config.fakes} samples "
            f"of each generator, {self.total:,} steps on "
            f"{self.trainer.parallel.num_devices} x {jax.devices()[0].device_kind}"
        )
        if self._evaluate.note:
            self.files.say(self._evaluate.note)
        self.files.say(f"run directory: {self.directory}")
        # A run that was stopped before its first call has this row already.
        if next(read_lines(self.directory / "metrics.jsonl"), None) is None and (
            score := true_score(self.trainer)
        ):
            self.files.row({"step": 0, **score})

    def _log(self, step: int, metrics: dict[str, Any]) -> None:
        row = {"step": step, **plain(metrics)}
        row["steps_per_second"] = row["images_per_second"] / self.trainer.config.batch
        self.files.row(row)
        self.files.show(step, row)


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
