"""Rate and warm-up by batch: MLPerf's points, and the ways a call can be wrong."""

import pytest

from experiments.lars.presets.mlperf import POINTS
from lars_jax import rate_for_batch, warmup_for_batch


def test_nine_of_ten_points_are_within_15_percent():
    off = {p.batch: p.rate / rate_for_batch(p.batch) - 1 for p in POINTS}
    far = {batch: round(gap, 2) for batch, gap in off.items() if abs(gap) > 0.15}
    assert far == {13056: -0.39}


def test_warmup_is_that_of_the_points_within_three_epochs():
    for point in POINTS:
        assert abs(warmup_for_batch(point.batch) - point.warmup_epochs) <= 3


def test_rate_is_a_root_up_to_its_highest():
    assert rate_for_batch(4 * 1632) == 2 * rate_for_batch(1632)
    assert (
        rate_for_batch(14_424) < rate_for_batch(14_425) == rate_for_batch(10**6) == 22
    )


def test_steps_are_as_long_whatever_the_coefficient():
    moved = 0.001 * rate_for_batch(512)
    assert 0.02 * rate_for_batch(512, trust_coefficient=0.02) == pytest.approx(moved)


def test_warmup_of_another_data_set_is_as_many_updates():
    # Of 60,000 images 625 updates of 1,024 are 10.67 epochs.
    assert warmup_for_batch(1024, 60_000) == pytest.approx(10.6667, abs=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rate_for_batch(0),
        lambda: rate_for_batch(-1),
        lambda: rate_for_batch(256, trust_coefficient=0),
        lambda: warmup_for_batch(0),
        lambda: warmup_for_batch(256, examples=0),
    ],
)
def test_what_is_not_above_zero_is_refused(call):
    with pytest.raises(ValueError, match="must be a finite number, above 0; got"):
        call()
