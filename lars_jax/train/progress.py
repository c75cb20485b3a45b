"""A progress bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

_BAR = "{percentage:3.0f}%|{bar:20}| {n}/{total} {postfix} ETA {remaining}"


class Progress:
    """Show epoch, step, loss, learning rate, images/s, waiting share and time left.

    Args:
        total: steps of the whole run.
        start: steps already done.
        seconds: least time between two lines where the output is no terminal.
        file: where to write; standard error by default.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        seconds: float = 10.0,
        file: TextIO | None = None,
    ):
        self._file = sys.stderr if file is None else file
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
        text = describe(metrics)
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


def describe(metrics: Mapping[str, Any]) -> str:
    """Return a row of metrics as a short line.

    >>> describe({"epoch": 1.5, "train/loss": 0.25, "learning_rate": 2.0,
    ...           "images_per_second": 812.3, "data_wait": 0.015})
    'epoch 1.5 loss 0.250 lr 2 812 images/s wait 1.5%'
    """
    return (
        f"epoch {metrics['epoch']:.1f} loss {metrics['train/loss']:.3f} "
        f"lr {metrics['learning_rate']:.3g} "
        f"{metrics['images_per_second']:.0f} images/s "
        f"wait {100 * metrics['data_wait']:.1f}%"
    )
