"""The host loop: cadence, hooks, stopping, and the guard against NaN."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.train import Hook, Interrupted, NonFiniteError, every, fit, loop
from lars_jax.train.loop import MAX_IN_FLIGHT


def add_one(state, batch):
    del batch
    return state + 1, {"loss": jnp.float32(state), "extra": jnp.arange(2)}


def forever():
    return itertools.repeat(None)


def test_every_step_is_run_once_and_in_order():
    seen = []

    def step(state, batch):
        seen.append((state, batch))
        return state + 1, {"loss": 0.0}

    state, done = fit(step, 0, itertools.count(10), steps=3)
    assert (state, done) == (3, 3)
    assert seen == [(0, 10), (1, 11), (2, 12)]


def test_metrics_come_at_their_cadence_and_at_both_ends():
    rows = []
    fit(
        add_one,
        0,
        forever(),
        steps=11,
        log_every=4,
        on_metrics=lambda s, m: rows.append(s),
    )
    assert rows == [1, 4, 8, 11]


def test_metrics_belong_to_their_step():
    rows = {}
    fit(add_one, 0, forever(), steps=20, on_metrics=lambda s, m: rows.update({s: m}))
    assert {step: float(row["loss"]) for step, row in rows.items()} == {
        step: step - 1.0 for step in range(1, 21)
    }
    assert all(0 <= row["data_wait"] <= 1 for row in rows.values())


def test_hooks_run_when_due_with_all_metrics_before_them():
    events = []
    hook = Hook(every(3, last=7), lambda step, state: events.append(("hook", step)))
    fit(
        add_one,
        0,
        forever(),
        steps=7,
        on_metrics=lambda step, row: events.append(("row", step)),
        hooks=[hook],
    )
    hooks = [step for kind, step in events if kind == "hook"]
    assert hooks == [3, 6, 7]
    assert events.index(("hook", 3)) > events.index(("row", 3))
    assert events.index(("hook", 3)) < events.index(("row", 4))


def test_resumed_loop_counts_from_where_it_starts():
    steps = []
    hook = Hook(lambda step: True, lambda step, state: steps.append((step, state)))
    fit(add_one, 5, forever(), start=5, steps=7, hooks=[hook])
    assert steps == [(6, 6), (7, 7)]


def test_stop_is_honoured_before_the_next_step():
    answers = iter([False, False, True])
    state, done = fit(add_one, 0, forever(), steps=9, should_stop=lambda: next(answers))
    assert (state, done) == (2, 2)


def test_wait_that_is_interrupted_ends_the_loop_with_the_state_before_it():
    def batches():
        yield from (1, 2)
        raise Interrupted

    rows = []
    state, done = fit(
        add_one, 0, batches(), steps=9, on_metrics=lambda step, row: rows.append(step)
    )
    assert (state, done, rows) == (2, 2, [1, 2])


@pytest.mark.parametrize("ahead", [1, MAX_IN_FLIGHT])
def test_no_more_than_the_bound_is_in_flight(ahead):
    started, finished = [], []
    most = 0

    def step(state, batch):
        nonlocal most
        started.append(state)
        most = max(most, len(started) - len(finished))
        return state + 1, {"loss": 0.0}

    def record(step, metrics):
        finished.append(step)

    fit(step, 0, forever(), steps=40, on_metrics=record, ahead=ahead)
    assert most == ahead + 1
    assert len(finished) == 40


def test_first_step_that_is_not_finite_is_named_with_its_leaves():
    def step(state, batch):
        bad = np.array([False, state >= 4, False])
        return state + 1, {"loss": 1.0, "nonfinite": bad}

    with pytest.raises(NonFiniteError, match=r"at step 5 .* not finite in fc6/kernel"):
        fit(
            step,
            0,
            forever(),
            steps=40,
            log_every=100,
            leaf_names=("conv1/kernel", "fc6/kernel", "fc8/bias"),
        )


def test_loss_that_is_not_finite_is_enough():
    def step(state, batch):
        return state + 1, {"loss": jnp.float32(jnp.nan)}

    with pytest.raises(NonFiniteError, match="at step 1 the loss was nan"):
        fit(step, 0, forever(), steps=3)


def test_no_hook_sees_a_state_after_a_step_that_was_not_finite():
    saved = []

    def step(state, batch):
        return state + 1, {"loss": np.inf if state == 4 else 0.0}

    with pytest.raises(NonFiniteError):
        fit(
            step,
            0,
            forever(),
            steps=10,
            hooks=[Hook(every(5, 10), lambda step, state: saved.append(step))],
        )
    assert saved == []


def add_five(state, batch):
    del batch
    return state + 5, {"loss": jnp.float32(state)}


def test_call_of_several_steps_counts_them_all():
    rows, batches = [], itertools.count()
    state, done = fit(
        add_five,
        0,
        batches,
        steps=20,
        stride=5,
        on_metrics=lambda step, row: rows.append(step),
    )
    assert (state, done, rows) == (20, 20, [5, 10, 15, 20])
    # One item for each call, and none drawn in vain.
    assert next(batches) == 4


@pytest.mark.parametrize(
    ("cadence", "due"), [(5, [5, 10, 15, 20]), (10, [10, 20]), (15, [15, 20])]
)
def test_hooks_of_several_steps_are_due_at_multiples_and_at_the_end(cadence, due):
    found = []
    hook = Hook(every(cadence, last=20), lambda step, state: found.append(step))
    fit(add_five, 0, forever(), steps=20, stride=5, hooks=[hook])
    assert found == due


def test_first_call_of_several_steps_is_logged_whatever_the_cadence():
    rows = []
    fit(
        add_five,
        0,
        forever(),
        steps=40,
        stride=5,
        log_every=20,
        on_metrics=lambda step, row: rows.append(step),
    )
    assert rows == [5, 20, 40]


def test_resumed_loop_of_several_steps_counts_from_where_it_starts():
    rows = []
    state, done = fit(
        add_five,
        10,
        forever(),
        start=10,
        steps=20,
        stride=5,
        on_metrics=lambda step, row: rows.append(step),
    )
    assert (state, done, rows) == (20, 20, [15, 20])


@pytest.mark.parametrize(("stride", "log_every"), [(1, 1), (5, 5), (5, 10)])
def test_speed_counts_the_images_of_every_step(monkeypatch, stride, log_every):
    clock, rows = [0.0], []
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])

    def call(state, batch):
        clock[0] += 2.0 * stride
        return state + stride, {"loss": 0.0}

    fit(
        call,
        0,
        forever(),
        steps=60,
        stride=stride,
        examples_per_step=64,
        log_every=log_every,
        on_metrics=lambda step, row: rows.append(row["images_per_second"]),
        ahead=1,
    )
    # The first rows wait for a call to be under way, the last for none.
    assert rows[1:-1] == [32.0] * (60 // log_every - 2 + (stride < log_every))


def test_call_that_is_not_finite_is_named_by_its_last_step():
    def call(state, batch):
        bad = np.array([state >= 10])
        return state + 5, {"loss": 1.0, "nonfinite": bad}

    with pytest.raises(NonFiniteError, match=r"by step 15 .* not finite in fc/kernel"):
        fit(call, 0, forever(), steps=40, stride=5, leaf_names=("fc/kernel",))


def test_stop_between_calls_of_several_steps_keeps_what_they_did():
    answers = iter([False, False, True])
    stop = lambda: next(answers)  # noqa: E731
    assert fit(add_five, 0, forever(), steps=40, stride=5, should_stop=stop) == (10, 10)
