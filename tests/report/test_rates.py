"""Accuracy over rates, as a share of the best."""

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import rate_figure


def row(optimizer, rate, accuracy):
    return {"optimizer": optimizer, "rate": rate, "accuracy": accuracy}


def test_each_line_has_its_best_at_one_and_rises_in_the_rate():
    rows = [row("lars", r, a) for r, a in ((8.0, 0.7), (2.0, 0.6), (4.0, 0.9))]
    rows += [row("sgd", r, a) for r, a in ((0.1, 0.8), (0.3, 0.5))]
    lars, sgd = rate_figure(rows, "Batch 64").axes[0].lines
    assert (lars.get_label(), sgd.get_label()) == ("lars", "sgd")
    np.testing.assert_allclose(np.asarray(lars.get_xdata()), [0.5, 1, 2])
    np.testing.assert_allclose(np.asarray(lars.get_ydata()), [0.6, 0.9, 0.7])
    np.testing.assert_allclose(np.asarray(sgd.get_xdata()), [1, 3])


def test_of_equal_accuracies_the_one_of_the_lower_loss_is_the_best():
    losses = {1.0: 0.5, 2.0: 0.3, 4.0: 0.1, 8.0: None}
    rows = [row("lars", r, 0.9) | {"loss": loss} for r, loss in losses.items()]
    (line,) = rate_figure(rows, "").axes[0].lines
    np.testing.assert_allclose(np.asarray(line.get_xdata()), [0.25, 0.5, 1, 2])


def test_what_was_tried_twice_stands_twice():
    figure = rate_figure([row("lars", 1.0, 0.5), row("lars", 1.0, 0.6)], "")
    np.testing.assert_allclose(
        np.asarray(figure.axes[0].lines[0].get_ydata()), [0.5, 0.6]
    )


def test_nothing_and_rates_that_are_none_are_refused():
    with pytest.raises(InputError, match="got none"):
        rate_figure([], "Batch 64")
    for rate in (0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="above zero and finite"):
            rate_figure([row("lars", rate, 0.5)], "Batch 64")
