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

    Attributes:
        directory: the run directory.
        writes: whether this process writes there.
        empty: whether no row has been recorded.
    """

    writes = False
    empty = False

    def __init__(self, directory: Path):
        self.directory = directory

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
        format_row: turns a row into what is shown of it beside the step.
    """

    writes = True

    def __init__(
        self,
        directory: Path,
        *,
        total: int,
        start: int | None,
        stack: contextlib.ExitStack,
        format_row: Callable[[Mapping[str, Any]], str],
    ):
        super().__init__(directory)
        self._stack = stack
        metrics = directory / "metrics.jsonl"
        self._metrics = JsonLines(metrics, keep_to=start)
        stack.callback(self._metrics.close)
        self.empty = metrics.stat().st_size == 0
        self._layers: JsonLines | None = None
        if (directory / "layers.jsonl").exists():
            self._layers = self._opened_layers(keep_to=start)
        self._events = Events(directory, resumed_from=start)
        stack.callback(self._events.close)
        self._progress = Progress(total, describe=format_row, start=start or 0)
        stack.callback(self._progress.close)

    def row(self, row: Mapping[str, Any]) -> None:
        """Record the metrics of a step, or of an evaluation."""
        self._metrics.append(row)
        self._events.write(row)
        if "eval/count" in row:
            self._events.flush()

    def layers(self, row: Mapping[str, Any]) -> None:
        """Record norms, trust ratio and rate of every layer."""
        # Most experiments have none, and then there is no such file.
        self._layers = self._layers or self._opened_layers()
        self._layers.append(row)

    def show(self, step: int, row: Mapping[str, Any]) -> None:
        """Show how far the run is."""
        self._progress.update(step, row)

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._progress.say(line)

    def _opened_layers(self, keep_to: int | None = None) -> JsonLines:
        layers = JsonLines(self.directory / "layers.jsonl", keep_to=keep_to)
        self._stack.callback(layers.close)
        return layers


def warn(line: str) -> None:
    """Print a line where no files are open yet."""
    print(line, file=sys.stderr, flush=True)
