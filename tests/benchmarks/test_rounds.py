"""Programs timed in turn: what is counted, and what is divided by what."""

import itertools

import pytest

from benchmarks.common.rounds import (
    alternate,
    compare,
    ratios,
    repeat,
    steps_for,
    summary,
)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Return the time that a program may move on, in seconds."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_rounds_alternate_and_share_their_time_among_steps(clock):
    calls = []

    def make(name, duration):
        def run(steps):
            calls.append((name, steps))
            clock[0] += steps * duration

        return run

    runs = {"a": make("a", 2.0), "b": make("b", 1.0)}
    taken = alternate(runs, rounds=3, target=4.0, trial=1)
    assert calls == [("a", 2), ("a", 1), ("b", 2), ("b", 1), *[("a", 2), ("b", 4)] * 3]
    assert taken["a"].clock == [2.0] * 3
    assert taken["b"].clock == [1.0] * 3
    assert len(taken["a"].cores) == 3


def test_repeated_step_goes_on_from_what_the_last_returned():
    seen = []

    def step(value):
        seen.append(value)
        return value + 1

    run = repeat(step, 0)
    run(2)
    run(1)
    assert seen == [0, 1, 2]


def test_warm_up_is_not_timed(clock):
    seconds = itertools.chain([100.0], itertools.repeat(0.5))

    def run(steps):
        clock[0] += steps * next(seconds)

    assert steps_for(run, target=4.0) == 8


def test_a_round_has_a_step_however_long_it_takes(clock):
    def run(steps):
        clock[0] += 100.0 * steps

    assert steps_for(run, target=1.0) == 1


def test_ratios_are_of_pairs_and_not_of_medians():
    over, under = [10.0, 2.0, 30.0], [5.0, 1.0, 10.0]
    assert ratios(over, under) == [2.0, 2.0, 3.0]
    assert summary(ratios(over, under))["median"] == 2.0


def test_summary_of_an_even_number_takes_the_middle():
    found = summary([4.0, 1.0, 3.0, 2.0])
    assert (found["n"], found["median"]) == (4, 2.5)
    assert (found["lowest"], found["highest"]) == (1.0, 4.0)


def test_compared_programs_share_each_round(clock):
    speed = {"slow": itertools.count(3), "fast": itertools.count(1)}

    def make(name):
        def run(steps):
            clock[0] += steps * next(speed[name])

        return run

    # Two calls choose the steps of a round; the third and fourth are the rounds.
    over, under, ratio = compare(make("slow"), make("fast"), rounds=2, target=4.0)
    assert over["values"] == [5.0, 6.0]
    assert under["values"] == [3.0, 4.0]
    assert ratio["values"] == [5 / 3, 1.5]
