import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import (
    accuracy_by_batch_figure,
    accuracy_figure,
    learning_rate_figure,
    loss_figure,
)
from tests.report.support import evaluation, training

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def axes_of(figure: "Figure") -> Any:
    """The axes, untyped: matplotlib's types of data are wider than what one draws."""
    return figure.axes[0]


def lines(figure: "Figure") -> dict[str, Any]:
    return {line.get_label(): line for line in axes_of(figure).lines}


def drawn(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def cell(optimizer, batch, mean, n=3):
    return {
        "optimizer": optimizer,
        "global_batch": batch,
        "mean": mean,
        "sd": 0.01,
        "n": n,
    }


def test_loss_figure_shows_training_and_evaluation():
    found = lines(loss_figure([*training(3), evaluation(3, 0.5)]))
    np.testing.assert_allclose(found["training"].get_ydata(), [2.0, 1.0, 2 / 3])
    np.testing.assert_allclose(found["evaluation"].get_ydata(), [np.log(2)])


@pytest.mark.parametrize(("last", "scale"), [(0.21, "linear"), (0.2, "log")])
def test_loss_axis_is_logarithmic_from_a_factor_of_ten(last, scale):
    rows = [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": last}]
    assert axes_of(loss_figure(rows)).get_yscale() == scale


def test_loss_of_zero_keeps_the_axis_linear():
    rows = [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": 0.0}]
    assert axes_of(loss_figure(rows)).get_yscale() == "linear"


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), None])
def test_first_loss_that_is_not_finite_is_marked(broken):
    rows = [{"step": 7, "train/loss": 1.0}, {"step": 8, "train/loss": broken}]
    figure = loss_figure(rows)
    assert lines(figure)["not finite from 8"].get_xdata()[0] == 8
    assert drawn(figure)


def test_loss_that_is_never_finite_is_still_drawn():
    assert drawn(loss_figure([{"step": 1, "train/loss": float("nan")}]))


def test_long_run_is_drawn_as_a_mean_within_a_band():
    axes = axes_of(loss_figure(training(1000)))
    assert len(axes.lines[0].get_xdata()) == 240
    assert len(axes.collections) == 1
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == 2.0


def test_single_step_is_a_visible_point_marked_once():
    axes = axes_of(loss_figure(training(1)))
    assert axes.lines[0].get_marker() == "o"
    assert axes.get_xticks().tolist() == [1]


def test_accuracy_figure_tells_the_last_evaluation():
    rows = [evaluation(1, 0.5), evaluation(2, 0.975)]
    assert "evaluation, 97.50 %" in lines(accuracy_figure(rows))


def test_accuracy_axis_does_not_leave_what_is_possible():
    bottom, top = axes_of(accuracy_figure([evaluation(1, 1.0)])).get_ylim()
    assert bottom < 1 < top <= 1.02


def test_learning_rate_figure_shows_the_rate():
    figure = learning_rate_figure(training(2))
    assert axes_of(figure).lines[0].get_ydata().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("draw", [loss_figure, accuracy_figure, learning_rate_figure])
def test_figure_without_its_quantity_is_refused(draw):
    with pytest.raises(InputError, match="got none"):
        draw([{"step": 1, "epoch": 0.5}])


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


def test_more_optimizers_than_colours_are_drawn():
    rows = [cell(f"number {i}", 256, 0.9) for i in range(6)]
    assert drawn(accuracy_by_batch_figure(rows))
