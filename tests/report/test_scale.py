import pytest

from lars_jax.report.scale import scale_ticks


@pytest.mark.parametrize("low", [-4.3, -2.01, 0.0])
@pytest.mark.parametrize("span", [1e-3, 0.2, 1.0, 1.9, 2.0, 6.0])
def test_scale_always_has_two_marks_within_it(low, span):
    ticks = scale_ticks(low, low + span)
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)
    assert low <= ticks[0] < ticks[-1] <= low + span
