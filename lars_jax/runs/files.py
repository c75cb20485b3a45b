"""The files of a run that grow: metrics, layers, events, and what is said meanwhile."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lars_jax.errors import naming
from lars_jax.train.record import append_row, cut_rows, read_rows

SECONDS = 10.0
"""Least time between two lines of progress where there is no terminal for a bar."""

_BAR = "{percentage:3.0f}%|{bar:20}| {n}/{total} {postfix} ETA {remaining}"
# Where nobody reads any more a run goes on: it is worth more than its progress.
_WITHOUT_READER = contextlib.suppress(OSError)


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
        from tensorboardX.event_file_writer import EventsWriter

        super().__init__(directory)
        self._metrics = directory / "metrics.jsonl"
        self._layers = directory / "layers.jsonl"
        if start is not None:
            cut_rows(self._metrics, start)
            cut_rows(self._layers, start)
        self.empty = not any(read_rows(self._metrics))
        # Rather than by the thread of a `SummaryWriter`: it is faster for a few scalars
        # a step, and a full disk is an error of the call that met it.
        self._events_file = directory / "events"
        with self._naming_events():
            self._events = EventsWriter(str(self._events_file))
        stack.callback(self._close_events)
        if start is not None:
            # Of later steps TensorBoard then forgets what was written before.
            self._write_event(step=start + 1, session_log={"status": "START"})
        self._format_row = format_row
        self._spoke = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=start or 0,
            file=sys.stderr,
            unit="step",
            disable=None,  # But on a terminal.
            dynamic_ncols=True,
            bar_format=_BAR,
        )
        stack.callback(self._close_bar)

    def row(self, row: Mapping[str, Any]) -> None:
        """Record the metrics of a step, or of an evaluation."""
        append_row(self._metrics, row)
        values = [
            {"tag": name, "simple_value": value}
            for name, value in row.items()
            if name != "step"
            and isinstance(value, int | float)
            and math.isfinite(value)
        ]
        self._write_event(
            step=row["step"], wall_time=time.time(), summary={"value": values}
        )
        if "eval/count" in row:
            with self._naming_events():
                self._events.flush()

    def layers(self, row: Mapping[str, Any]) -> None:
        """Record norms, trust ratio and rate of every layer."""
        append_row(self._layers, row)

    def show(self, step: int, row: Mapping[str, Any]) -> None:
        """Show the step, what a row says, and the time left."""
        text = self._format_row(row)
        with _WITHOUT_READER:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        if self._bar.disable and time.monotonic() - self._spoke >= SECONDS:
            self.say(f"step {step}/{self._bar.total} {text}")

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._spoke = time.monotonic()
        with _WITHOUT_READER:
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()

    def _write_event(self, **content: Any) -> None:
        from tensorboardX.proto import event_pb2

        # Protobuf makes its classes on import, so type checkers know none of them.
        with self._naming_events():
            self._events.write_event(vars(event_pb2)["Event"](**content))

    def _close_events(self) -> None:
        with self._naming_events():
            self._events.close()

    def _naming_events(self) -> contextlib.AbstractContextManager[None]:
        return naming(self._events_file, "written")

    def _close_bar(self) -> None:
        with _WITHOUT_READER:
            self._bar.close()


def warn(line: str) -> None:
    """Print a line where no files are open yet."""
    with _WITHOUT_READER:
        print(line, file=sys.stderr, flush=True)
