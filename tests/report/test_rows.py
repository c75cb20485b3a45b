import numpy as np
import pytest

from lars_jax.report.rows import (
    Series,
    adapted,
    band,
    layer_series,
    natural_key,
    series,
)


def test_series_is_sorted_by_step_whatever_the_order_of_the_rows():
    rows = [{"step": 3, "x": 30.0}, {"step": 1, "x": 10.0}, {"step": 2, "y": 0.0}]
    found = series(rows, "x")
    assert found.step.tolist() == [1, 3]
    assert found.value.tolist() == [10.0, 30.0]


def test_later_row_of_a_repeated_step_counts():
    rows = [{"step": 1, "x": 1.0}, {"step": 2, "x": 2.0}, {"step": 1, "x": 7.0}]
    assert series(rows, "x").value.tolist() == [7.0, 2.0]


def test_null_is_read_as_not_a_number():
    assert np.isnan(series([{"step": 1, "x": None}], "x").value[0])


def test_series_of_an_absent_quantity_is_empty():
    found = series([{"step": 1}], "x")
    assert found.step.shape == found.value.shape == (0,)


@pytest.mark.parametrize("count", [1, 7, 240])
def test_short_series_is_left_alone(count):
    points = Series(np.arange(count), np.arange(count) ** 2.0)
    for values in band(points)[1:]:
        np.testing.assert_array_equal(values, points.value)


@pytest.mark.parametrize("count", [241, 1000, 12345])
def test_long_series_keeps_extremes_mean_and_length(count):
    value = np.random.default_rng(0).normal(size=count)
    step, low, mean, high = band(Series(np.arange(count), value))
    assert len(mean) == 240
    assert low.min() == value.min()
    assert high.max() == value.max()
    assert (low <= mean).all()
    assert (mean <= high).all()
    # Intervals differ by at most one point, so the mean of means is near the mean.
    np.testing.assert_allclose(mean.mean(), value.mean(), atol=0.02)
    assert (np.diff(step) > 0).all()


def test_one_spike_among_many_points_survives():
    value = np.ones(10_000)
    value[1234] = 50.0
    *_, high = band(Series(np.arange(10_000), value))
    assert (high == 50.0).sum() == 1


def test_band_leaves_out_what_is_not_finite():
    step, *_ = band(Series(np.arange(4), np.array([1.0, np.nan, np.inf, 4.0])))
    assert step.tolist() == [0.0, 3.0]
    assert band(Series(np.arange(2), np.full(2, np.nan))).shape == (4, 0)


def test_layer_series_hold_every_layer_at_every_step():
    rows = [
        {"step": 5, "layers": {"b": {"weight_norm": 3.0}}},
        {"step": 1, "layers": {"a": {"weight_norm": 1.0}, "b": {"weight_norm": 2.0}}},
    ]
    steps, values = layer_series(rows, "weight_norm")
    assert steps.tolist() == [1, 5]
    assert list(values) == ["a", "b"]
    np.testing.assert_array_equal([*values.values()], [[1.0, np.nan], [2.0, 3.0]])
    assert layer_series([], "weight_norm")[1] == {}


def test_adapted_layers_are_those_whose_ratio_is_not_always_one():
    ratios = {"a": 1.0, "b": 0.5, "broken": None}
    rows = [{"step": 1, "layers": {n: {"ratio": r} for n, r in ratios.items()}}]
    _, ratios = layer_series(rows, "ratio")
    assert list(adapted(ratios)) == ["b", "broken"]
    assert adapted(ratios)["b"].tolist() == [0.5]
    del ratios["b"]
    assert adapted(ratios) == {}


def test_names_are_sorted_as_people_count():
    names = [f"block{number}/kernel" for number in (10, 9, 1, 100, 2)]
    expected = [f"block{number}/kernel" for number in (1, 2, 9, 10, 100)]
    assert sorted(names, key=natural_key) == expected
    names = ["a", "10", "2", "a1", ""]
    assert sorted(names, key=natural_key) == ["", "2", "10", "a", "a1"]
