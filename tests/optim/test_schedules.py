"""The schedule of Algorithm 1 and the warm-up before it, by hand."""

# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.optim import warmup_polynomial


def test_paper_decay_is_quadratic_over_the_whole_run():
    schedule = warmup_polynomial(2.0, 100)
    assert float(schedule(0)) == 2.0
    assert float(schedule(50)) == pytest.approx(0.5)
    assert float(schedule(90)) == pytest.approx(0.02)


def test_warmup_rises_in_a_straight_line_from_its_start():
    schedule = warmup_polynomial(1.0, 100, 10, start=0.5)
    values = [float(schedule(step)) for step in (0, 2, 8)]
    assert values == pytest.approx([0.5, 0.6, 0.9])


def test_decay_from_the_start_steps_down_at_the_joint():
    # (1 - 10 / 100)^2 of the peak, as in the authors' own solver.
    assert float(warmup_polynomial(1.0, 100, 10)(10)) == pytest.approx(0.81)


def test_decay_from_warmup_starts_at_the_peak():
    schedule = warmup_polynomial(1.0, 110, 10, decay_from="warmup")
    assert float(schedule(10)) == pytest.approx(1.0)
    assert float(schedule(60)) == pytest.approx(0.25)


def test_rate_ends_at_its_end_and_stays_there():
    schedule = warmup_polynomial(1.0, 10, end=1e-4)
    assert float(schedule(10)) == pytest.approx(1e-4)
    assert float(schedule(1000)) == pytest.approx(1e-4)


def test_power_may_be_other_than_two():
    assert float(warmup_polynomial(1.0, 4, power=1)(1)) == pytest.approx(0.75)


def test_every_number_may_be_traced():
    @jax.jit
    def rate(peak, total, warmup, step):
        return warmup_polynomial(peak, total, warmup)(step)

    assert float(rate(2.0, 100.0, 10.0, 5)) == pytest.approx(1.0)
    assert float(rate(4.0, 100.0, 0.0, jnp.int32(50))) == pytest.approx(1.0)


NO_NUMBERS = (-1, float("nan"), float("inf"), True, None, "1", [1.0], np.ones(2))


@pytest.mark.parametrize(
    "name", ["peak", "total_steps", "warmup_steps", "power", "start", "end"]
)
def test_what_is_no_number_is_refused_by_name(name):
    for value in (*NO_NUMBERS, jnp.ones(2), lambda step: 1.0):
        with pytest.raises(ValueError, match=f"{name} must be a finite number.*; got "):
            warmup_polynomial(**{"peak": 1.0, "total_steps": 10} | {name: value})


def test_there_is_a_step_and_one_after_warmup():
    with pytest.raises(ValueError, match="total_steps .* above 0; got 0"):
        warmup_polynomial(1.0, 0)
    with pytest.raises(ValueError, match="warmup_steps .* and below 10; got 10:"):
        warmup_polynomial(1.0, np.int64(10), 10)
    assert float(warmup_polynomial(1.0, jnp.array(4), 4)(2)) == 0.5


def test_decay_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match="must be 'start' or 'warmup'; got 'warm-up'"):
        warmup_polynomial(1.0, 10, decay_from="warm-up")
