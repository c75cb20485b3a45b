"""Processes stop together a few steps after one wants to; one alone stops at once.

That several real ones do is tested with whole runs, in `tests/experiments/lars`.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.train import DataParallel, Interrupted, data_mesh, evaluate, fit, stop
from lars_jax.train.stop import AGREE_EVERY, StopFlag, any_process


@pytest.fixture
def among_others(monkeypatch):
    """Let this process be one of several, of which another may want to stop."""
    flags = stop._flags
    other = iter(itertools.repeat(False))

    def with_another(flag):
        own = np.array(flags(flag))
        own[5] |= next(other)
        return DataParallel(data_mesh()).shard_batch(own)

    def another_wants(when):
        nonlocal other
        other = iter(when)

    monkeypatch.setattr(stop, "_flags", with_another)
    monkeypatch.setattr(jax, "process_count", lambda: 8)
    return another_wants


def add_one(state, batch):
    del batch
    return state + 1, {"loss": jnp.float32(state)}


def test_flag_of_one_device_is_known_on_every_one(among_others):
    assert [bool(any_process(flag)) for flag in (True, False)] == [True, False]
    among_others([True])
    found = any_process(False)
    assert bool(found)
    assert found.is_fully_replicated


def test_process_alone_sends_nothing_and_stops_at_once(monkeypatch):
    monkeypatch.setattr(stop, "any_process", None)
    wanted = iter([False, False, True])
    flag = StopFlag(lambda: next(wanted))
    assert [flag() for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("agreement", range(4))
def test_all_stop_at_the_agreement_after_the_one_that_any_wants_to(
    among_others, agreement
):
    expected = (agreement + 2) * AGREE_EVERY
    flag = StopFlag(lambda: False)
    among_others(number == agreement for number in itertools.count())
    assert [flag() for _ in range(expected)] == [False] * (expected - 1) + [True]
    among_others(itertools.repeat(False))
    asked = iter(range(100))
    flag = StopFlag(lambda: next(asked) == agreement)
    assert [flag() for _ in range(expected)] == [False] * (expected - 1) + [True]


def test_loop_ends_after_the_same_step_whoever_wants_to(among_others):
    rows = []
    among_others(itertools.chain([False, False], itertools.repeat(True)))
    state, done = fit(
        add_one,
        0,
        itertools.repeat(None),
        steps=40,
        on_metrics=lambda step, row: rows.append(step),
    )
    # The third agreement is looked at by the fourth, before the step that it is of.
    assert (state, done) == (4 * AGREE_EVERY - 1,) * 2
    assert rows == list(range(1, done + 1))


def test_evaluation_ends_where_another_process_wants_to_stop(among_others):
    counted = []

    def step(batch):
        counted.append(batch)
        return {"count": jnp.array(1)}

    among_others(itertools.repeat(True))
    with pytest.raises(Interrupted):
        evaluate(step, range(40), expected=40)
    assert counted == list(range(2 * AGREE_EVERY - 1))
    among_others(itertools.repeat(False))
    assert evaluate(step, range(40), expected=40) == {"count": 40.0}
