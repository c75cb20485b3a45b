"""Time several programs in turn, and say what a comparison of them is worth.

Programs that share a machine with others are timed in alternating rounds, A B A B, and
compared round by round: what slows the machine for a while slows both of a pair, so the
ratio of a pair varies much less than either speed.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

Run = Callable[[int], object]
"""Does that many steps and returns when the last is done."""


def repeat(step: Callable[[Any], Any], carried: Any, *, each: bool = False) -> Run:
    """Return a run of steps that go on from what the last has returned.

    Args:
        step: returns what the next one is given.
        carried: what the first is given.
        each: wait for every step, without which virtual devices may deadlock.
    """

    def run(steps: int) -> None:
        nonlocal carried
        for _ in range(steps):
            carried = step(carried)
            if each:
                jax.block_until_ready(carried)
        jax.block_until_ready(carried)

    return run


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


@dataclass(frozen=True)
class Times:
    """What a step of a program took in each round, in seconds.

    Attributes:
        steps: of a round.
        clock: by the clock.
        cores: that all cores worked together.
    """

    steps: int
    clock: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    def measure(self, run: Run) -> None:
        """Add a round."""
        clock, cores = time.perf_counter(), time.process_time()
        run(self.steps)
        self.clock.append((time.perf_counter() - clock) / self.steps)
        self.cores.append((time.process_time() - cores) / self.steps)


def steps_for(run: Run, target: float, *, trial: int = 3) -> int:
    """Return the number of steps that take about `target` seconds, at least one.

    The first steps compile and fill caches, so they are not counted.
    """
    run(2)
    times = Times(trial)
    times.measure(run)
    return max(1, round(target / times.clock[0]))


def alternate(
    runs: Mapping[str, Run], *, rounds: int, target: float, trial: int = 3
) -> dict[str, Times]:
    """Return the times of each program, in rounds that take turns.

    Args:
        runs: programs by name, in the order of a round.
        rounds: number of rounds, at least one.
        target: about how many seconds a round of one program takes.
        trial: steps by which the number of steps of a round is chosen.
    """
    taken = {
        name: Times(steps_for(run, target, trial=trial)) for name, run in runs.items()
    }
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].measure(run)
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

    The arguments are those of `alternate`.
    """
    taken = alternate(
        {"over": over, "under": under}, rounds=rounds, target=target, trial=trial
    )
    clocks = taken["over"].clock, taken["under"].clock
    return summary(clocks[0]), summary(clocks[1]), summary(ratios(*clocks))
