from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import (
    CURVES,
    Series,
    accuracy_by_batch_figure,
    curve_figure,
    distance_figure,
)
from lars_jax.report.style import SERIES, light
from tests.report.support import drawn, evaluation, game, measures, training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BY_TITLE = {curve.title: curve for curve in CURVES}


def axes_of(figure: "Figure") -> Any:
    """The axes, untyped: matplotlib's types of data are wider than what one draws."""
    return figure.axes[0]


def curve(rows: list[dict[str, Any]], title: str) -> Any:
    return axes_of(curve_figure(rows, BY_TITLE[title]))


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines}


def heights(axes: Any) -> dict[float, set[float]]:
    """What a band reaches at each step."""
    found: dict[float, set[float]] = {}
    for step, value in axes.collections[0].get_paths()[0].vertices.tolist():
        found.setdefault(step, set()).add(value)
    return found


def test_loss_is_that_of_training_and_evaluation():
    found = lines(curve([*training(3), evaluation(3, 0.5)], "Loss"))
    np.testing.assert_allclose(found["training"].get_ydata(), [2.0, 1.0, 2 / 3])
    np.testing.assert_allclose(found["evaluation"].get_ydata(), [np.log(2)])


@pytest.mark.parametrize(
    ("last", "scale"), [(0.21, "linear"), (0.2, "log"), (0.0, "linear")]
)
def test_loss_axis_is_logarithmic_from_a_factor_of_ten(last, scale):
    rows = [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": last}]
    assert curve(rows, "Loss").get_yscale() == scale


def test_first_loss_that_is_not_finite_is_marked():
    for broken in (float("nan"), float("inf"), None):
        rows = [{"step": 7, "train/loss": 1.0}, {"step": 8, "train/loss": broken}]
        figure = curve_figure(rows, CURVES[0])
        assert lines(axes_of(figure))["not finite from 8"].get_xdata()[0] == 8


def test_loss_that_is_never_finite_is_still_drawn():
    assert drawn(curve_figure([{"step": 1, "train/loss": float("nan")}], CURVES[0]))


def test_long_run_is_drawn_as_a_mean_within_a_band():
    axes = curve(training(1000), "Loss")
    assert len(axes.lines[0].get_xdata()) == 240
    assert len(axes.collections) == 1
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == 2.0


def test_single_step_is_a_visible_point_marked_once():
    axes = curve(training(1), "Loss")
    assert axes.lines[0].get_marker() == "o"
    assert axes.get_xticks().tolist() == [1]
    assert curve(training(2), "Loss").lines[0].get_marker() == "None"


def test_few_evaluations_are_marked():
    for count, mark in ((60, "o"), (61, "None")):
        rows = [evaluation(step, 0.5) for step in range(1, count + 1)]
        assert curve(rows, "Loss").lines[0].get_marker() == mark


def test_accuracy_tells_the_last_evaluation():
    rows = [evaluation(1, 0.5), evaluation(2, 0.975)]
    assert "evaluation, 97.50 %" in lines(curve(rows, "Accuracy"))


def test_shares_are_told_in_percent_and_do_not_leave_what_is_possible():
    figure = curve_figure([evaluation(1, 1.0)], BY_TITLE["Accuracy"])
    bottom, top = axes_of(figure).get_ylim()
    assert bottom < 1 < top <= 1.02
    figure = curve_figure([measures(1)], BY_TITLE["Purity of the generators"])
    figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in axes_of(figure).get_yticklabels()]
    assert "90 %" in ticks


def test_losses_of_all_players_are_drawn():
    found = lines(curve(game(2), "Losses"))
    assert {name: line.get_ydata().tolist() for name, line in found.items()} == {
        "discriminator": [1.4, 1.4],
        "generators": [-0.7, -0.7],
        "classifier": [2.0, 1.0],
    }


def test_player_that_is_not_there_is_not_drawn_and_the_others_keep_their_colour():
    part = lines(curve([{"step": 1, "classifier_loss": 2.0}], "Losses"))
    assert part.keys() == {"classifier"}
    whole = lines(curve(game(1), "Losses"))
    assert part["classifier"].get_color() == whole["classifier"].get_color()


def test_first_of_several_losses_that_is_not_finite_is_marked_once():
    rows = game(9)
    rows[4]["generator_loss"] = rows[6]["classifier_loss"] = None
    assert BY_TITLE["Losses"].diverged(rows) == (5, "generator_loss")
    marks = [name for name in lines(curve(rows, "Losses")) if "finite" in name]
    assert marks == ["not finite from 5"]
    assert BY_TITLE["Accuracy"].diverged([{"step": 1, "eval/accuracy": None}]) is None


def test_distances_are_drawn_with_the_median_of_true_samples():
    rows = [measures(step, 4.0 / step) for step in (1, 2, 3)]
    for row, true in zip(rows, (0.01, 0.04, 0.9), strict=True):
        row["floor/wasserstein"] = true
    axes = curve(rows, "Wasserstein distance")
    found = lines(axes)
    assert found["generators"].get_ydata().tolist() == [4.0, 2.0, 4.0 / 3]
    assert found["averaged"].get_ydata().tolist() == [2.0, 1.0, 2.0 / 3]
    assert found["true samples"].get_ydata() == [0.04, 0.04]
    assert found["true samples"].is_dashed()
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 0.04


def test_distances_of_true_samples_that_are_unknown_are_not_drawn():
    row = measures(1) | {"floor/wasserstein": None}
    assert "true samples" not in lines(curve([row], "Wasserstein distance"))


def test_counts_are_whole_and_from_none():
    axes = curve([measures(1)], "Modes covered")
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 8
    assert all(float(tick).is_integer() for tick in axes.get_yticks())


@pytest.mark.parametrize("title", BY_TITLE)
def test_figure_without_its_quantity_is_refused(title):
    with pytest.raises(InputError, match="got none in 1"):
        curve([{"step": 1, "epoch": 0.5}], title)


def cell(optimizer, batch, mean, n=3):
    found = {"optimizer": optimizer, "global_batch": batch, "mean": mean, "n": n}
    return found | {"sd": 0.01}


def test_comparison_draws_each_optimizer_by_rising_batch():
    rows = [cell("lars", 512, 0.9), cell("sgd", 256, 0.8), cell("lars", 256, 0.95)]
    axes = axes_of(accuracy_by_batch_figure(rows))
    means = {
        bars.get_label(): bars.lines[0].get_ydata().tolist() for bars in axes.containers
    }
    assert means == {"lars": [0.95, 0.9], "sgd": [0.8]}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["256", "512"]


def test_error_bars_of_one_batch_stand_apart_around_it():
    rows = [cell("lars", 256, 0.9), cell("sgd", 256, 0.9)]
    containers = axes_of(accuracy_by_batch_figure(rows)).containers
    first, second = (bars.lines[0].get_xdata()[0] for bars in containers)
    assert 240 < first < 256 < second < 270
    np.testing.assert_allclose(np.sqrt(first * second), 256)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((1, 1), "one seed each"),
        ((3, 3), "over 3 seeds"),
        ((2, 5), "over 2 to 5 seeds"),
    ],
)
def test_comparison_tells_the_number_of_seeds(counts, words):
    rows = [cell("lars", 256 * 2**i, 0.9, n) for i, n in enumerate(counts)]
    assert words in axes_of(accuracy_by_batch_figure(rows)).get_xlabel()


def test_comparison_of_nothing_is_refused():
    with pytest.raises(InputError, match="at least one row"):
        accuracy_by_batch_figure([])


def seed(*values: float, start: int = 1) -> Series:
    return Series(start + np.arange(len(values)), np.array(values))


def distances(*args: Any, **kwargs: Any) -> Any:
    return axes_of(distance_figure(*args, title="Wasserstein distance", **kwargs))


def test_line_is_the_mean_of_the_seeds_and_the_band_their_range():
    axes = distances({"MGAN": [seed(4, 1), seed(4, 2), seed(7, 6)]}, None, unit="nats")
    line = lines(axes)["MGAN"]
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata().tolist() == [5, 3]
    assert heights(axes) == {1.0: {4.0, 7.0}, 2.0: {1.0, 6.0}}
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "step; mean and range of 3 seeds"
    assert axes.get_title(loc="left") == "Wasserstein distance"
    assert axes.get_ylabel() == "nats"


def test_one_seed_has_no_band():
    axes = distances({"GAN": [seed(2, 1)]}, None)
    assert len(axes.collections) == 0
    assert axes.get_xlabel() == "step; one seed each"


def test_distance_of_true_samples_is_a_dashed_line_within_the_axis():
    axes = distances({"GAN": [seed(2, 1)]}, 0.01)
    true = lines(axes)["true samples"]
    assert true.get_ydata() == [0.01, 0.01]
    assert true.is_dashed()
    low, high = axes.get_ylim()
    assert low < 0.01 < 2 < high
    assert lines(distances({"GAN": [seed(2, 1)]}, None)).keys() == {"GAN"}


def test_method_keeps_its_colour_and_mark_in_a_figure_that_lacks_others():
    methods = [f"method {number}" for number in range(6)]
    whole = lines(distances({name: [seed(2, 1)] for name in methods}, None))
    looks = [(line.get_color(), line.get_marker()) for line in whole.values()]
    assert [colour for colour, _ in looks[:5]] == [light(use) for use in SERIES]
    assert len(set(looks)) == 6
    part = lines(distances({methods[3]: [seed(2, 1)]}, None, methods=methods))
    line = part[methods[3]]
    assert (line.get_color(), line.get_marker()) == looks[3]


def test_value_without_a_place_on_the_axis_is_left_out():
    for broken in (np.nan, np.inf, 0.0, -1.0):
        axes = distances({"GAN": [seed(4, broken, 2), seed(2, 1, broken)]}, None)
        assert lines(axes)["GAN"].get_ydata().tolist() == [3, 1, 2]


def test_step_that_no_seed_can_show_is_no_step():
    axes = distances({"GAN": [seed(4, np.nan, 2)], "lost": [seed(np.nan)]}, None)
    assert lines(axes).keys() == {"GAN"}
    assert lines(axes)["GAN"].get_xdata().tolist() == [1, 3]


def test_seed_that_is_not_as_far_takes_part_where_it_was():
    axes = distances({"GAN": [seed(4, 2), seed(2, 1, start=2)]}, None)
    assert lines(axes)["GAN"].get_xdata().tolist() == [1, 2, 3]
    assert lines(axes)["GAN"].get_ydata().tolist() == [4, 2, 1]


@pytest.mark.parametrize(
    ("series", "true", "methods", "message"),
    [
        ({}, None, (), "value above zero; got none in 0 methods"),
        ({"GAN": [seed(np.nan)]}, None, (), "value above zero; got none in 1 methods"),
        ({"GAN": []}, None, (), "value above zero"),
        ({"GAN": [seed(1)]}, 0.0, (), "true samples must be above zero .* got 0.0"),
        ({"GAN": [seed(1)]}, float("nan"), (), "true samples must be"),
        ({"GAN": [seed(1)]}, None, ("MGAN",), r"\['MGAN'\] lack \['GAN'\]"),
        (
            {"GAN": [Series(np.arange(2), np.ones(3))]},
            None,
            (),
            r"series of GAN .* steps \[2\] and values \[3\]",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(series, true, methods, message):
    with pytest.raises(InputError, match=message):
        distances(series, true, methods=methods)
