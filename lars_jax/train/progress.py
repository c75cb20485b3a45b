"""A progress bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from tqdm import tqdm

_BAR = "{percentage:3.0f}%|{bar:20}| {n}/{total} {postfix} ETA {remaining}"


class Progress:
    """Show the step, what a row of metrics says, and the time left.

    Args:
        total: steps of the whole run.
        describe: turns a row of metrics into a short line.
        start: steps already done.
        seconds: least time between two lines where the output is no terminal.
        file: where to write; standard error by default.
    """

    def __init__(
        self,
        total: int,
        *,
        describe: Callable[[Mapping[str, Any]], str],
        start: int = 0,
        seconds: float = 10.0,
        file: TextIO | None = None,
    ):
        self._file = sys.stderr if file is None else file
        self._describe = describe
        self._seconds = seconds
        self._spoke = time.monotonic()
        self._total = total
        self._bar = tqdm(
            total=total,
            initial=start,
            file=self._file,
            unit="step",
            disable=not self._file.isatty(),
            dynamic_ncols=True,
            bar_format=_BAR,
        )

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show the metrics of a step."""
        text = self._describe(metrics)
        with _without_reader():
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        quiet_for = time.monotonic() - self._spoke
        if self._bar.disable and quiet_for >= self._seconds:
            self.say(f"step {step}/{self._total} {text}")

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._spoke = time.monotonic()
        with _without_reader():
            tqdm.write(line, file=self._file)
            self._file.flush()

    def close(self) -> None:
        """Leave the bar as it stands."""
        with _without_reader():
            self._bar.close()


def _without_reader() -> contextlib.suppress:
    """Go on where nobody reads any more: a run is worth more than its progress."""
    return contextlib.suppress(BrokenPipeError)
