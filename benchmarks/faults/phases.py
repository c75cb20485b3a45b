"""Make a phase of a run last, and send the run a signal while it does.

Each function patches a trainer that is about to run in this process. What it patches
with is the caller's: whatever sets an attribute and later puts it back.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from experiments.lars.inputs import Inputs
from experiments.lars.trainer import Trainer
from lars_jax.train.ahead import AheadOfTime

LONG = 60
"""Seconds that a phase is made to last; a run that waits for its end is too late."""

Patch = Callable[[Any, str, Any], None]


def terminate() -> None:
    """Send this process SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def linger() -> None:
    """Send the signal a moment from now, and be busy for long."""
    threading.Timer(0.2, terminate).start()
    time.sleep(LONG)


def in_loading(patch: Patch, number: int) -> None:
    """Let the data be slow to load."""
    del number
    original = Trainer.create.__func__

    def slow(cls: type[Trainer], config: Any) -> Trainer:
        linger()
        return original(cls, config)

    patch(Trainer, "create", classmethod(slow))


def in_compilation(patch: Patch, number: int) -> None:
    """Let the compilation of the given number, from 0, last."""
    original, count = AheadOfTime.compile, iter(range(100))

    def slow(self: AheadOfTime, *arguments: Any) -> None:
        if not self.compiled and next(count) == number:
            linger()
        original(self, *arguments)

    patch(AheadOfTime, "compile", slow)


def in_training(patch: Patch, step: int) -> None:
    """Send the signal while the step of the given number, from 1, is under way."""
    original, count = AheadOfTime.__call__, iter(range(1, 1000))

    def stepped(self: AheadOfTime, state: Any, batch: Any, shared: Any) -> Any:
        found = original(self, state, batch, shared)
        if "mask" not in batch and isinstance(found, tuple) and next(count) == step:
            terminate()
        return found

    patch(AheadOfTime, "__call__", stepped)


def in_data_wait(patch: Patch, stop_and_number: tuple[int, int]) -> None:
    """Let a batch be late, of the batches up to a step."""
    original = Inputs._train_rows
    stop, late = stop_and_number

    def slow(self: Inputs, batch: int, **options: Any) -> Any:
        for number, found in enumerate(original(self, batch, **options)):
            if (options["stop"], number) == (stop, late):
                linger()
            yield found

    patch(Inputs, "_train_rows", slow)


def in_evaluation(patch: Patch, batch: int) -> None:
    """Send the signal at an evaluation batch, counted over all evaluations from 0."""
    original, count = Inputs.evaluation_batches, iter(range(1000))

    def late(self: Inputs, interrupt: Any) -> Any:
        for found in original(self, interrupt):
            if next(count) == batch:
                terminate()
            yield found

    patch(Inputs, "evaluation_batches", late)


def in_report(patch: Patch, number: int) -> None:
    """Send the signal when training has ended and the report is to be written."""
    del number
    original = Trainer.predict

    def late(self: Trainer, state: Any, interrupt: Any = None) -> Any:
        terminate()
        return original(self, state, interrupt)

    patch(Trainer, "predict", late)
