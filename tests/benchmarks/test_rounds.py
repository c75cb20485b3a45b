"""Programs timed in turn: what is counted, and what is divided by what."""

import itertools

import pytest

from benchmarks.common.rounds import alternate, compare, ratios, steps_for, summary


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Return the time that a program may move on, in seconds."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_rounds_alternate():
    calls = []
    runs = {name: lambda n, name=name: calls.append((name, n)) for name in ("a", "b")}
    taken = alternate(runs, {"a": 2, "b": 5}, rounds=3)
    assert calls == [("a", 2), ("b", 5)] * 3
    assert [len(times) for times in taken.values()] == [3, 3]


def test_time_of_a_round_is_shared_among_its_steps(clock):
    def run(steps):
        clock[0] += 2.0 * steps

    assert alternate({"a": run}, {"a": 3}, rounds=1) == {"a": [2.0]}


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
