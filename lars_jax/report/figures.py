"""The curves of a run, and the figure of a comparison."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.rows import Row, Series, band, series
from lars_jax.report.style import (
    SERIES,
    TEXT_SIZE,
    label_axis,
    legend_above,
    light,
    new_axes,
    step_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.0, 2.6
"""Inches; three abreast fill a page, one alone a phone."""

LOGARITHMIC_FROM = 10.0
"""Ratio of the largest to the smallest loss from which its axis is logarithmic."""

DODGE = 0.035
"""Octaves that optimizers stand apart, so that no error bar hides another."""

MARKERS = ("o", "s", "^", "D")
"""A second mark of identity beside the colour."""


def loss_figure(metrics: Iterable[Row]) -> "Figure":
    """Draw the training and the evaluation loss over the steps.

    A long series is drawn as the mean of each interval inside the band of its
    extremes. The axis is logarithmic where the losses span a factor of ten. A dashed
    line marks the first step whose loss is not finite.

    Args:
        metrics: rows with `step` and any of `train/loss`, `eval/loss`, in nats.

    Raises:
        InputError: no row has a loss.

    >>> figure = loss_figure([{"step": 1, "train/loss": 2.3}])
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [2.3]
    """
    train, evaluation = _train_and_evaluation(metrics, "loss")
    figure, axes = new_axes(WIDTH, HEIGHT, "Loss")
    values = np.concatenate([train.value, evaluation.value])
    values = values[np.isfinite(values)]
    if len(values) and 0 < LOGARITHMIC_FROM * values.min() <= values.max():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    _draw_train(axes, train)
    _draw_evaluation(axes, evaluation, "evaluation")
    mark_divergence(axes, train)
    _finish(axes, train, evaluation)
    return figure


def accuracy_figure(metrics: Iterable[Row]) -> "Figure":
    """Draw the training and the evaluation accuracy over the steps.

    Args:
        metrics: rows with `step` and any of `train/accuracy`, `eval/accuracy`, as
            fractions of one.

    Raises:
        InputError: no row has an accuracy.

    >>> figure = accuracy_figure([{"step": 9, "eval/accuracy": 0.9306}])
    >>> figure.axes[0].lines[0].get_label()
    'evaluation, 93.06 %'
    """
    train, evaluation = _train_and_evaluation(metrics, "accuracy")
    figure, axes = new_axes(WIDTH, HEIGHT, "Accuracy")
    _draw_train(axes, train)
    last = f"{100 * evaluation.value[-1]:.2f} %" if len(evaluation.step) else ""
    _draw_evaluation(axes, evaluation, f"evaluation, {last}")
    percent_axis(axes)
    _finish(axes, train, evaluation)
    return figure


def learning_rate_figure(metrics: Iterable[Row]) -> "Figure":
    """Draw the global learning rate over the steps.

    Args:
        metrics: rows with `step` and `learning_rate`.

    Raises:
        InputError: no row has a learning rate.

    >>> figure = learning_rate_figure([{"step": 1, "learning_rate": 2.0}])
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [2.0]
    """
    rate = series(metrics, "learning_rate")
    if not len(rate.step):
        raise InputError(
            "a learning-rate figure needs rows with learning_rate; got none: log it"
        )
    figure, axes = new_axes(WIDTH, HEIGHT, "Learning rate")
    draw_band(axes, rate, SERIES[2], "")
    axes.yaxis.set_major_formatter("{x:g}")
    _finish(axes, rate)
    return figure


def accuracy_by_batch_figure(rows: Iterable[Row]) -> "Figure":
    """Draw the accuracy of several optimizers over the size of the batch.

    Points of one batch size stand a little apart, so that all error bars are seen.

    Args:
        rows: one a cell, with `optimizer`, `global_batch` in examples, `mean` and `sd`
            of the accuracy as fractions of one over `n` seeds.

    Raises:
        InputError: no rows.

    >>> figure = accuracy_by_batch_figure([{"optimizer": "lars", "global_batch": 512,
    ...     "mean": 0.98, "sd": 0.01, "n": 3}])
    >>> figure.axes[0].get_xticks().tolist()
    [512]
    """
    rows = list(rows)
    if not rows:
        raise InputError("a comparison needs at least one row; got none: run a cell")
    figure, axes = new_axes(6.4, 3.8, "Accuracy by batch size")
    names = list(dict.fromkeys(row["optimizer"] for row in rows))
    for number, name in enumerate(names):
        own = [row for row in rows if row["optimizer"] == name]
        shift = 2 ** (DODGE * (number - (len(names) - 1) / 2))
        _draw_cells(axes, own, number, shift)
    batches = sorted({int(row["global_batch"]) for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.minorticks_off()
    percent_axis(axes)
    label_axis(axes, "x", f"global batch{_seeds(rows)}")
    legend_above(axes)
    return figure


def _train_and_evaluation(metrics: Iterable[Row], name: str) -> tuple[Series, Series]:
    rows = list(metrics)
    train, evaluation = series(rows, f"train/{name}"), series(rows, f"eval/{name}")
    if not len(train.step) + len(evaluation.step):
        raise InputError(
            f"this figure needs rows with train/{name} or eval/{name}; got none of "
            f"either in {len(rows)}: log one"
        )
    return train, evaluation


def _draw_train(axes: "Axes", points: Series) -> None:
    draw_band(axes, points, SERIES[0], "training")


def draw_band(axes: "Axes", points: Series, colour: str, label: str) -> None:
    """Draw a series; a long one as the mean of each interval within its extremes.

    Args:
        axes: to draw in.
        points: what to draw; values that are not finite are left out.
        colour: its name in the palette.
        label: its name in the legend, or "".
    """
    if not len(points.step):
        return
    step, low, mean, high = band(points)
    alone = "o" if len(step) == 1 else None
    axes.plot(step, mean, color=light(colour), linewidth=1.3, marker=alone, label=label)
    if len(step) < len(points.step):
        axes.fill_between(step, low, high, color=light(colour), alpha=0.2, linewidth=0)


def _draw_evaluation(axes: "Axes", points: Series, label: str) -> None:
    if not len(points.step):
        return
    few = "o" if len(points.step) <= 60 else None
    axes.plot(
        points.step,
        points.value,
        color=light(SERIES[1]),
        linewidth=1.6,
        marker=few,
        markersize=3.5,
        label=label,
    )


def mark_divergence(axes: "Axes", points: Series) -> None:
    """Draw a dashed line at the first step whose value is not finite, if any."""
    broken = np.flatnonzero(~np.isfinite(points.value))
    if len(broken):
        step = int(points.step[broken[0]])
        axes.axvline(
            step,
            color=light("ink"),
            linewidth=1.0,
            linestyle=(0, (3, 2)),
            label=f"not finite from {step:,}",
        )


def _draw_cells(axes: "Axes", rows: list[Row], number: int, shift: float) -> None:
    rows = sorted(rows, key=lambda row: row["global_batch"])
    axes.errorbar(
        [shift * row["global_batch"] for row in rows],
        [row["mean"] for row in rows],
        yerr=[row["sd"] for row in rows],
        label=rows[0]["optimizer"],
        color=light(SERIES[number % len(SERIES)]),
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.5,
        linewidth=1.6,
        capsize=3,
        elinewidth=1.0,
    )


def _seeds(rows: list[Row]) -> str:
    counts = sorted({int(row["n"]) for row in rows})
    if counts == [1]:
        return "; one seed each"
    count = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"; mean and standard deviation over {count} seeds"


def mark_steps(axes: "Axes", *drawn: Series) -> None:
    """Fit the x axis to the steps of all that was drawn."""
    steps = np.concatenate([points.step for points in drawn])
    step_axis(axes, int(steps.min()), int(steps.max()))
    axes.yaxis.get_offset_text().set(fontsize=TEXT_SIZE, color=light("muted"))


def _finish(axes: "Axes", *drawn: Series) -> None:
    mark_steps(axes, *drawn)
    if axes.get_legend_handles_labels()[1]:
        legend_above(axes)


def percent_axis(axes: "Axes") -> None:
    """Mark fractions of one on the y axis as percent."""
    bottom, top = axes.get_ylim()
    # No accuracy lies outside; a little room keeps marks at the ends whole.
    axes.set_ylim(max(bottom, -0.02), min(top, 1.02))
    axes.yaxis.set_major_formatter(_percent)


def _percent(value: float, _: float) -> str:
    # Above 100 % lies room for marks, not an accuracy.
    return f"{100 * value:.4g} %" if value < 1.001 else ""
