"""A run between its start and its end: what is done when, whatever it trains."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lars_jax.runs.files import Files
from lars_jax.train import Hook, Interrupt, Interrupted, every
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.record import JsonLines, environment


class Session(ABC):
    """A run at work in its directory, to its end or until it is asked to stop.

    What it trains, measures and writes at the end is its experiment's. What makes a run
    that was stopped end in the same bits is here: evaluations and checkpoints in their
    order, also where it was stopped within one of them.

    Attributes:
        directory: where everything is written; exists.
        state: after `step` steps.
        step: steps completed.
        total: steps of the whole run.
        evaluation: the last one; {} where there was none since the start.
        evaluated_at: its step.
        interrupt: asks to stop.
        checkpoints: of the run, open.
        files: where it says what happens, open.
        opened: closes all that is open.
    """

    directory: Path
    total: int
    interrupt: Interrupt
    checkpoints: Checkpoints
    files: Files
    opened: contextlib.ExitStack

    def __init__(self, directory: Path, state: Any, total: int, interrupt: Interrupt):
        self.directory = directory
        self.state, self.step, self.total = state, 0, total
        self.evaluation: dict[str, float] = {}
        self.evaluated_at: int | None = None
        self.interrupt = interrupt

    @abstractmethod
    def announce(self) -> None:
        """Say what is about to run."""

    @abstractmethod
    def fit(self, hooks: Sequence[Hook]) -> tuple[Any, int]:
        """Train from `state`, and return the last state and its step."""

    @abstractmethod
    def evaluate(self, state: Any) -> dict[str, float]:
        """Return the numbers of a state, by their names among metrics.

        Raises:
            Interrupted: a signal came.
        """

    @abstractmethod
    def tell(self, evaluation: Mapping[str, float]) -> str:
        """Return an evaluation as a short line."""

    @abstractmethod
    def finish(self) -> None:
        """Write what can only be written at the end."""

    @property
    @abstractmethod
    def intervals(self) -> tuple[int, int]:
        """Steps between evaluations, and between checkpoints."""

    def kept_with(self, evaluation: Mapping[str, float]) -> dict[str, float]:
        """Return what a checkpoint keeps of the evaluation of its step."""
        return dict(evaluation)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.opened.close()

    def run(self) -> bool:
        """Train to the end; return False if it was stopped, and saved, before."""
        try:
            self._train()
            stopped = self.step < self.total
            if not stopped:
                self.finish()
        except Interrupted:
            stopped = True
        if stopped:
            self.interrupt.honoured()
            self._stop()
        return not stopped

    def measure(self, step: int, state: Any) -> None:
        """Evaluate a state, and record what is found."""
        # Where it is stopped, this is what there is to save.
        self.state, self.step = state, step
        self.evaluation = self.evaluate(state)
        self.evaluated_at = step
        self.files.row({"step": step, **self.evaluation})
        self.files.say(f"step {step}/{self.total}: {self.tell(self.evaluation)}")

    def save(self, step: int, state: Any) -> None:
        """Start to save a state, with its evaluation if it has been evaluated."""
        fresh = self.evaluation if self.evaluated_at == step else {}
        self.checkpoints.save(step, state, self.kept_with(fresh))

    def record_attempt(self, **facts: object) -> None:
        """Note what this start or restart runs on: no number may depend on it."""
        attempts = JsonLines(self.directory / "attempts.jsonl")
        attempts.append(
            {
                "step": self.step,
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                **facts,
                "environment": environment(),
            }
        )
        attempts.close()

    def _train(self) -> None:
        self.announce()
        evaluated, saved = (
            Hook(every(steps, self.total), act)
            for steps, act in zip(
                self.intervals, (self.measure, self.save), strict=True
            )
        )
        if self.step and evaluated.due(self.step) and self.evaluated_at != self.step:
            # Stopped within this evaluation, which the run without a break completes.
            evaluated.run(self.step, self.state)
            if saved.due(self.step):
                self.checkpoints.drop(self.step)
                saved.run(self.step, self.state)
        self.state, self.step = self.fit([evaluated, saved])

    def _stop(self) -> None:
        """Save where the run is, and say how to go on."""
        self.save(self.step, self.state)
        self.checkpoints.wait()
        self.files.say(
            f"stopped and saved at step {self.step} of {self.total}; the same command "
            f"with --run-dir {self.directory} --resume goes on from there"
        )
