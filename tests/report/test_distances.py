from typing import Any

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import Series, distance_figure
from lars_jax.report.style import SERIES, light


def seed(*values: float, start: int = 1) -> Series:
    return Series(start + np.arange(len(values)), np.array(values))


def axes_of(*args: Any, **kwargs: Any) -> Any:
    return distance_figure(*args, title="Wasserstein distance", **kwargs).axes[0]


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines}


def heights(axes: Any, number: int = 0) -> dict[float, set[float]]:
    """What a band reaches at each step."""
    found: dict[float, set[float]] = {}
    for step, value in axes.collections[number].get_paths()[0].vertices.tolist():
        found.setdefault(step, set()).add(value)
    return found


def test_line_is_the_mean_of_the_seeds_and_the_band_their_range():
    axes = axes_of({"MGAN": [seed(4, 1), seed(4, 2), seed(7, 6)]}, None)
    line = lines(axes)["MGAN"]
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata().tolist() == [5, 3]
    assert heights(axes) == {1.0: {4.0, 7.0}, 2.0: {1.0, 6.0}}
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "step; mean and range of 3 seeds"


def test_one_seed_has_no_band():
    axes = axes_of({"GAN": [seed(2, 1)]}, None)
    assert len(axes.collections) == 0
    assert axes.get_xlabel() == "step; one seed each"


def test_methods_of_several_numbers_of_seeds_say_so():
    axes = axes_of({"GAN": [seed(2)], "MGAN": [seed(1), seed(3)]}, None)
    assert axes.get_xlabel().endswith("of 1 to 2 seeds")


def test_floor_is_a_dashed_line_with_a_name():
    floor = lines(axes_of({"GAN": [seed(2, 1)]}, 0.125))["true samples"]
    assert floor.get_ydata() == [0.125, 0.125]
    assert floor.is_dashed()
    assert lines(axes_of({"GAN": [seed(2, 1)]}, None)).keys() == {"GAN"}


def test_floor_lies_within_the_axis():
    low, high = axes_of({"GAN": [seed(2, 1)]}, 0.01).get_ylim()
    assert low < 0.01 < 2 < high


def test_method_keeps_its_colour_in_a_figure_that_lacks_others():
    methods = ("GAN", "Unrolled GAN", "D2GAN", "MGAN")
    whole = lines(axes_of({name: [seed(2, 1)] for name in methods}, None))
    part = lines(axes_of({"MGAN": [seed(2, 1)]}, None, methods=methods))
    assert [line.get_color() for line in whole.values()] == [
        light(use) for use in SERIES[:4]
    ]
    assert part["MGAN"].get_color() == whole["MGAN"].get_color()
    assert part["MGAN"].get_marker() == whole["MGAN"].get_marker()


def test_no_two_of_six_methods_share_both_colour_and_mark():
    found = lines(axes_of({f"m{i}": [seed(2, 1)] for i in range(6)}, None)).values()
    assert len({(line.get_color(), line.get_marker()) for line in found}) == 6


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0, -1.0])
def test_value_without_a_place_on_the_axis_is_left_out(broken):
    axes = axes_of({"GAN": [seed(4, broken, 2), seed(2, 1, broken)]}, None)
    assert lines(axes)["GAN"].get_ydata().tolist() == [3, 1, 2]


def test_step_that_no_seed_can_show_is_no_step():
    axes = axes_of({"GAN": [seed(4, np.nan, 2)], "lost": [seed(np.nan)]}, None)
    assert lines(axes).keys() == {"GAN"}
    assert lines(axes)["GAN"].get_xdata().tolist() == [1, 3]


def test_seed_that_is_not_as_far_takes_part_where_it_was():
    axes = axes_of({"GAN": [seed(4, 2), seed(2, 1, start=2)]}, None)
    assert lines(axes)["GAN"].get_xdata().tolist() == [1, 2, 3]
    assert lines(axes)["GAN"].get_ydata().tolist() == [4, 2, 1]


def test_title_and_unit_are_told():
    axes = axes_of({"GAN": [seed(2, 1)]}, None, unit="nats")
    assert axes.get_title(loc="left") == "Wasserstein distance"
    assert axes.get_ylabel() == "nats"


@pytest.mark.parametrize("count", [1, 4, 7])
def test_legend_stands_within_the_figure_below_the_title_and_above_the_data(count):
    names = [f"method number {number}" for number in range(count)]
    figure = distance_figure({name: [seed(2, 1)] for name in names}, 0.1, title="KL")
    figure.draw_without_rendering()
    axes: Any = figure.axes[0]
    box = axes.get_legend().get_window_extent()
    # The boxes have a little room of their own around the letters.
    assert box.y1 <= axes._left_title.get_window_extent().y0 + 4
    assert box.y0 >= axes.bbox.y1 - 1
    assert box.x1 <= figure.bbox.x1
    assert axes.get_title(loc="left") == "KL"
    assert axes._left_title.get_window_extent().y1 <= figure.bbox.y1


@pytest.mark.parametrize(
    ("series", "floor", "methods", "message"),
    [
        ({}, None, (), "value above zero; got none in 0 methods"),
        ({"GAN": [seed(np.nan)]}, None, (), "value above zero; got none in 1 methods"),
        ({"GAN": []}, None, (), "value above zero"),
        ({"GAN": [seed(1)]}, 0.0, (), "floor must be above zero .* got 0.0"),
        ({"GAN": [seed(1)]}, float("nan"), (), "floor must be"),
        ({"GAN": [seed(1)]}, None, ("MGAN",), r"\['MGAN'\] lack \['GAN'\]"),
        (
            {"GAN": [Series(np.arange(2), np.ones(3))]},
            None,
            (),
            r"series of GAN .* steps \[2\] and values \[3\]",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(series, floor, methods, message):
    with pytest.raises(InputError, match=message):
        axes_of(series, floor, methods=methods)
