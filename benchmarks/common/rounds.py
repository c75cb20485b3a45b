"""Time several programs in turn, and say what a comparison of them is worth.

Programs that share a machine with others are timed in alternating rounds, A B A B, and
compared round by round: what slows the machine for a while slows both of a pair, so the
ratio of a pair varies much less than either speed.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Run = Callable[[int], object]
"""Does that many steps and returns when the last is done."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the median of at least one value, and what it is a median of.

    >>> summary([3.0, 1.0, 2.0])
    {'n': 3, 'median': 2.0, 'lowest': 1.0, 'highest': 3.0, 'values': [3.0, 1.0, 2.0]}
    """
    return {
        "n": len(values),
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "values": list(values),
    }


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


def compare(
    over: Run, under: Run, *, rounds: int, target: float, trial: int = 3
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return summaries of two programs' seconds per step, and of their ratio.

    Args:
        over: the program whose seconds are divided.
        under: the program by whose seconds they are divided.
        rounds: number of rounds, at least one.
        target: about how many seconds a round of one program takes.
        trial: steps by which the number of steps of a round is chosen.
    """
    runs = {"over": over, "under": under}
    steps = {name: steps_for(run, target, trial=trial) for name, run in runs.items()}
    taken = alternate(runs, steps, rounds)
    ratio = ratios(taken["over"], taken["under"])
    return summary(taken["over"]), summary(taken["under"]), summary(ratio)
