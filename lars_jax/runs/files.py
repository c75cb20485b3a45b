"""The files of a run that grow: metrics, layers, events, and what is said meanwhile."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lars_jax.train.progress import Progress
from lars_jax.train.record import Events, JsonLines


class Files:
    """Where a run says what happens to it; here, as a process that does not write.

    Of several processes one writes, and the others are silent.
    """

    def row(self, row: Mapping[str, Any]) -> None:
        """Record the metrics of a step, or of an evaluation."""

    def layers(self, row: Mapping[str, Any]) -> None:
        """Record norms, trust ratio and rate of every layer."""

    def show(self, step: int, row: Mapping[str, Any]) -> None:
        """Show how far the run is."""

    def say(self, line: str) -> None:
        """Print a line."""


class RunFiles(Files):
    """The files of a run directory, open.

    Args:
        directory: the run directory, held for this process alone.
        total: steps of the run.
        start: step that it goes on from; what was written of later steps is removed.
        stack: closes what is opened.
        describe: turns a row into what is shown of it beside the step.
        layers: whether there are rows of layers, so that `layers.jsonl` is opened.
    """

    def __init__(
        self,
        directory: Path,
        *,
        total: int,
        start: int | None,
        stack: contextlib.ExitStack,
        describe: Callable[[Mapping[str, Any]], str],
        layers: bool = False,
    ):
        self._metrics = JsonLines(directory / "metrics.jsonl", keep_to=start)
        stack.callback(self._metrics.close)
        self._layers = None
        if layers:
            self._layers = JsonLines(directory / "layers.jsonl", keep_to=start)
            stack.callback(self._layers.close)
        self._events = Events(directory, resumed_from=start)
        stack.callback(self._events.close)
        self._progress = Progress(total, describe=describe, start=start or 0)
        stack.callback(self._progress.close)

    def row(self, row: Mapping[str, Any]) -> None:
        """Record the metrics of a step, or of an evaluation."""
        self._metrics.append(row)
        self._events.write(row)
        if "eval/count" in row:
            self._events.flush()

    def layers(self, row: Mapping[str, Any]) -> None:
        """Record norms, trust ratio and rate of every layer."""
        assert self._layers is not None, "opened without layers"
        self._layers.append(row)

    def show(self, step: int, row: Mapping[str, Any]) -> None:
        """Show how far the run is."""
        self._progress.update(step, row)

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._progress.say(line)


def warn(line: str) -> None:
    """Print a line where no files are open yet."""
    print(line, file=sys.stderr, flush=True)
