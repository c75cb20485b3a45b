"""Send a run a signal in a phase of your choice, whatever experiment it is of.

A phase is made to last far longer than a test or a benchmark waits, and the signal
comes while it does, so that a run which hears it only afterwards is too late.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

from lars_jax.runs import Experiment, Program
from lars_jax.train import Interrupt
from lars_jax.train.ahead import AheadOfTime

LONG = 60
"""Seconds that a phase is made to last."""


def terminate() -> None:
    """Send this process SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def linger() -> None:
    """Send the signal a moment from now, and be busy for long."""
    threading.Timer(0.2, terminate).start()
    time.sleep(LONG)


@contextlib.contextmanager
def disturbed(
    experiment: Experiment[Any], phase: str, number: int = 0
) -> Iterator[Experiment[Any]]:
    """Yield an experiment whose next run gets the signal in a phase.

    Args:
        experiment: what is run.
        phase: one of `PHASES`.
        number: of the event in that phase, counted over the whole attempt from 0: the
            compilation, the row of metrics, the batch, the evaluation.
    """
    with contextlib.ExitStack() as stack:
        yield PHASES[phase](experiment, iter(range(10**6)), number, stack)


Disturb = Callable[
    [Experiment[Any], Iterator[int], int, contextlib.ExitStack], Experiment[Any]
]


def _in_loading(
    experiment: Experiment[Any],
    count: Iterator[int],
    number: int,
    stack: contextlib.ExitStack,
) -> Experiment[Any]:
    del count, number, stack

    def build(config: Any, sources: Any) -> Program[Any]:
        linger()
        return experiment.made(config, sources)

    return replace(experiment, build=build)


def _in_compilation(
    experiment: Experiment[Any],
    count: Iterator[int],
    number: int,
    stack: contextlib.ExitStack,
) -> Experiment[Any]:
    original = AheadOfTime.compile

    def compile_(self: AheadOfTime, *arguments: Any) -> Any:
        if not self.compiled and next(count) == number:
            linger()
        return original(self, *arguments)

    stack.enter_context(mock.patch.object(AheadOfTime, "compile", compile_))
    return experiment


def _in_data_wait(
    experiment: Experiment[Any],
    count: Iterator[int],
    number: int,
    stack: contextlib.ExitStack,
) -> Experiment[Any]:
    original = Interrupt.each

    def each(self: Interrupt, items: Any) -> Iterator[Any]:
        def late() -> Iterator[Any]:
            for item in items:
                if next(count) == number:
                    linger()
                yield item

        return original(self, late())

    stack.enter_context(mock.patch.object(Interrupt, "each", each))
    return experiment


def _with(change: Callable[[Program[Any], Callable[[], bool]], None]) -> Disturb:
    """Return what changes every program of an experiment as it is built."""

    def disturb(
        experiment: Experiment[Any],
        count: Iterator[int],
        number: int,
        stack: contextlib.ExitStack,
    ) -> Experiment[Any]:
        del stack

        def build(config: Any, sources: Any) -> Program[Any]:
            program = experiment.made(config, sources)
            change(program, lambda: next(count) == number)
            return program

        return replace(experiment, build=build)

    return disturb


def _in_training(program: Program[Any], due: Callable[[], bool]) -> None:
    original = program.fit

    def fit(state: Any, *, on_metrics: Any, **options: Any) -> Any:
        def signalled(step: int, metrics: dict[str, Any]) -> None:
            on_metrics(step, metrics)
            if due():
                terminate()

        return original(state, on_metrics=signalled, **options)

    # A program may be a frozen dataclass.
    object.__setattr__(program, "fit", fit)


def _in_evaluation(program: Program[Any], due: Callable[[], bool]) -> None:
    original = program.evaluate

    def evaluate(state: Any, interrupt: Interrupt) -> dict[str, float]:
        if due():
            interrupt.run(linger)
        return original(state, interrupt)

    object.__setattr__(program, "evaluate", evaluate)


def _in_finish(program: Program[Any], due: Callable[[], bool]) -> None:
    original = program.on_finish

    def on_finish(state: Any, files: Any, interrupt: Interrupt) -> None:
        if due():
            interrupt.run(linger)
        original(state, files, interrupt)

    object.__setattr__(program, "on_finish", on_finish)


PHASES: dict[str, Disturb] = {
    "loading": _in_loading,
    "compilation": _in_compilation,
    "training": _with(_in_training),
    "data wait": _in_data_wait,
    "evaluation": _with(_in_evaluation),
    "finish": _with(_in_finish),
}
"""What sends the signal in each phase."""
