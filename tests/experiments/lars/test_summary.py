"""Tables of a comparison, from rows that are written out."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.lars.config import Grid
from experiments.lars.summary import (
    comparison_figures,
    comparison_tables,
    differences,
    score,
)
from lars_jax.report import half_interval

GRID = Grid(optimizers=("sgd", "lars"), batches=(64, 128))


def rows_of(optimizer, batch, *accuracies, first=0):
    """Return rows of some seeds from `first` on."""
    own = {"phase": "test", "optimizer": optimizer, "global_batch": batch, "rate": 1.0}
    return [
        own | {"seed": first + k, "accuracy": value}
        for k, value in enumerate(accuracies)
    ]


def test_difference_is_that_of_pairs_and_not_of_means():
    # The seed that SGD alone has, 0, would turn the difference of means around.
    runs = rows_of("sgd", 64, 0.99, 0.80, 0.70) + rows_of(
        "lars", 64, 0.82, 0.74, first=1
    )
    [found] = differences(runs, GRID, "lars")
    assert (found["optimizer"], found["global_batch"], found["n"]) == ("sgd", 64, 2)
    assert found["mean"] == pytest.approx(-0.03)
    # s is 0.01 sqrt(2) and the quantile of one degree of freedom tan(0.475 pi).
    assert found["half"] == pytest.approx(0.01 * np.tan(0.475 * np.pi))


def test_interval_is_that_of_a_paired_test():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 5))
    runs = rows_of("sgd", 64, *one) + rows_of("lars", 64, *other)
    [found] = differences(runs, GRID, "lars")
    low, high = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert found["mean"] - found["half"] == pytest.approx(low)
    assert found["mean"] + found["half"] == pytest.approx(high)


def test_what_was_tuned_is_not_compared_nor_what_has_no_pair():
    rows = rows_of("sgd", 64, 0.5) + rows_of("lars", 128, 0.5)
    assert differences(rows, GRID, "lars") == []
    rows = [row | {"phase": "tune"} for row in rows_of("sgd", 64, 0.5)]
    assert differences(rows + rows_of("lars", 64, 0.5), GRID, "lars") == []


def test_tables_tell_both_and_one_seed_has_no_interval():
    runs = rows_of("sgd", 64, 0.98, 0.96) + rows_of("lars", 64, 0.99, 0.99)
    runs += rows_of("sgd", 128, 0.90) + rows_of("lars", 128, 0.95)
    lines = comparison_tables(runs, GRID).splitlines()
    assert "| sgd | 64 | 1 | 97.00 | 1.41 | 2 |" in lines
    assert "| sgd | 128 | -5.00 |  | 1 |" in lines
    reach = 100 * half_interval([-0.01, -0.03])
    ends = f"{-2 - reach:+.2f} to {-2 + reach:+.2f}"
    assert f"| sgd | 64 | -2.00 | {ends} | 2 |" in lines


@pytest.mark.parametrize("lost", [{"diverged": True, "loss": None}, {"loss": math.inf}])
def test_what_diverged_is_told_and_is_in_no_mean_and_no_pair(lost):
    runs = rows_of("sgd", 64, 0.98, 0.96, 0.97) + rows_of("lars", 64, 0.99, 0.99, 0.0)
    runs[-1] |= lost
    lines = comparison_tables(runs, GRID).splitlines()
    assert "| lars | 64 | 1 | 99.00 | 0.00 | 2, 1 of 3 diverged |" in lines
    [found] = differences(runs, GRID, "lars")
    assert (found["n"], found["diverged"]) == (2, 1)
    assert found["mean"] == pytest.approx(-0.02)
    assert any(line.endswith("| 2, 1 of 3 diverged |") for line in lines[-3:])
    axes = comparison_figures(runs, GRID)["accuracy"].axes[0]
    assert axes.get_legend_handles_labels()[1] == ["sgd", "lars (1 diverged)"]


def test_cell_that_diverged_by_every_seed_has_no_numbers():
    lost = [row | {"diverged": True} for row in rows_of("lars", 64, 0.0, 0.0)]
    lines = comparison_tables(rows_of("sgd", 64, 0.9, 0.9) + lost, GRID).splitlines()
    assert "| lars | 64 | 1 |  |  | 0, 2 of 2 diverged |" in lines
    assert "| sgd | 64 |  |  | 0, 2 of 2 diverged |" in lines
    assert "accuracy" not in comparison_figures(lost, GRID)


def test_of_equal_accuracies_the_lower_loss_scores_higher_and_none_the_least():
    rows = [{"accuracy": 0.5, "loss": loss} for loss in (None, 2.0, 1.0)]
    assert sorted(rows, key=score) == rows
    assert score({"accuracy": 0.5}) == score(rows[0])


def test_figures_are_of_what_there_is():
    tuned = [row | {"phase": "tune"} for row in rows_of("lars", 128, 0.5, 0.6)]
    figures = comparison_figures(tuned, GRID)
    assert list(figures) == ["rates-128"]
    assert figures["rates-128"].axes[0].get_title(loc="left") == "Batch 128"
    tuned += rows_of("lars", 64, 0.5)
    assert list(comparison_figures(tuned, GRID)) == ["accuracy", "rates-128"]


def test_one_optimizer_has_nothing_to_be_held_against():
    text = comparison_tables(rows_of("sgd", 64, 0.5), Grid(("sgd",), (64,)))
    assert "ahead" not in text
