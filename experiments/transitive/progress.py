"""How far a stage has come: a bar with its rate and the time that is left."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from lars_jax.train import Interrupt

T = TypeVar("T")

SECONDS = 10.0
"""Least time between two lines of progress where there is no terminal for a bar."""


class Progress:
    """A bar on a terminal, and a line every ten seconds elsewhere.

    Args:
        total: how many jobs there are.
        title: what the bar says.
        unit: what the rate counts.
        job: what one job is called.
    """

    def __init__(self, total: int, title: str, unit: str, job: str = "video"):
        self._title, self._unit = title, unit
        self._amount = self._done = 0
        self._began = self._spoke = time.monotonic()
        self._bar = tqdm(
            total=total,
            desc=title,
            file=sys.stderr,
            unit=job,
            disable=None,  # But on a terminal.
            dynamic_ncols=True,
        )

    def add(self, amount: int) -> None:
        """Count a job that is done, and how much of the unit it stands for."""
        self._amount += amount
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        rate = f"{self._amount / max(now - self._began, 1e-9):.1f} {self._unit}s/s"
        self._bar.set_postfix_str(rate, refresh=False)
        if self._bar.disable and now - self._spoke >= SECONDS:
            self._spoke = now
            left = (now - self._began) / self._done * (self._bar.total - self._done)
            text = f"{self._title}: {self._done}/{self._bar.total} {rate}"
            print(f"{text} ETA {left:.0f} s", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def watched(
    interrupt: Interrupt, items: Sequence[T], title: str, unit: str
) -> Iterator[T]:
    """Yield items and show how many are done; a signal ends the wait for the next.

    Args:
        interrupt: ends it.
        items: what there is to do.
        title: what the bar says.
        unit: what an item is called.

    Raises:
        Interrupted: a signal came.

    >>> sum(watched(Interrupt(), [1, 2, 3], "features", "crop"))
    6
    """
    with Progress(len(items), title, unit, unit) as progress:
        for item in interrupt.each(items):
            yield item
            progress.add(1)
