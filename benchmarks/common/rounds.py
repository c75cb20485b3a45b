"""Time several programs in turn, and say what a comparison of them is worth.

Programs that share a machine with others are timed in alternating rounds, A B A B, and
compared round by round: what slows the machine for a while slows both of a pair, so the
ratio of a pair varies much less than either speed.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Run = Callable[[int], object]
"""Does that many steps and returns when the last is done."""


@dataclass(frozen=True)
class Summary:
    """A median with what it is a median of."""

    n: int
    median: float
    lowest: float
    highest: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Return the summary of at least one value.

        >>> Summary.of([3.0, 1.0, 2.0]).median
        2.0
        """
        return cls(
            n=len(values),
            median=statistics.median(values),
            lowest=min(values),
            highest=max(values),
            values=tuple(values),
        )


def seconds(run: Run, steps: int) -> float:
    """Return how long `run(steps)` takes."""
    started = time.perf_counter()
    run(steps)
    return time.perf_counter() - started


def steps_for(run: Run, target: float, *, trial: int = 3) -> int:
    """Return the number of steps that take about `target` seconds, at least one.

    The first steps compile and fill caches, so they are not counted.
    """
    run(2)
    per_step = seconds(run, trial) / trial
    return max(1, round(target / per_step))


def alternate(
    runs: Mapping[str, Run], steps: Mapping[str, int], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds per step of each program, in rounds that take turns.

    Args:
        runs: programs by name, in the order of a round.
        steps: steps of a round of each program.
        rounds: number of rounds, at least one.

    Returns:
        For each name, seconds per step of its rounds.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run, steps[name]) / steps[name])
    return taken


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return the ratio of each pair of rounds.

    >>> ratios([6.0, 8.0], [3.0, 2.0])
    [2.0, 4.0]
    """
    return [a / b for a, b in zip(over, under, strict=True)]
