"""Curves: loss, accuracy and learning rate over a run, accuracy over batch sizes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.report.series import Rows, first_not_finite, series, summarise
from lars_jax.report.style import (
    ALERT,
    INK,
    MARKERS,
    SERIES,
    TICK_SIZE,
    legend,
    new_axes,
    say_empty,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (5.2, 3.1)
"""Inches; small enough that the type stays readable on a phone."""

LOGARITHMIC_FROM = 50.0
"""Ratio of greatest to least loss from which its axis is logarithmic."""


def loss_figure(metrics: Rows) -> "Figure":
    """Draw training and evaluation loss over the steps of a run.

    The axis is logarithmic where the loss spans a factor of 50 or more. A loss that
    stops being finite is marked at the step where it did.

    Args:
        metrics: rows with "step" and "train/loss" or "eval/loss" [nats].

    Returns:
        A figure that no global state knows of.

    >>> figure = loss_figure([{"step": 1, "train/loss": 2.3}])
    >>> figure.axes[0].get_ylabel()
    'loss'
    """
    figure, axes = new_axes(*SIZE, x_label="step", y_label="loss")
    values = _draw_pair(axes, metrics, "loss", scale=1.0)
    positive = values[values > 0]
    if positive.size and positive.max() >= LOGARITHMIC_FROM * positive.min():
        axes.set_yscale("log")
    _mark_not_finite(axes, metrics, "train/loss")
    return figure


def accuracy_figure(metrics: Rows) -> "Figure":
    """Draw training and evaluation accuracy, in percent, over the steps of a run.

    Args:
        metrics: rows with "step" and "train/accuracy" or "eval/accuracy" in [0, 1].

    >>> figure = accuracy_figure([{"step": 1, "eval/accuracy": 0.5}])
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [50.0]
    """
    figure, axes = new_axes(*SIZE, x_label="step", y_label="accuracy, %")
    _draw_pair(axes, metrics, "accuracy", scale=100.0)
    return figure


def learning_rate_figure(metrics: Rows) -> "Figure":
    """Draw the global learning rate over the steps of a run.

    Args:
        metrics: rows with "step" and "learning_rate".

    >>> figure = learning_rate_figure([{"step": 1, "learning_rate": 2.0}])
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [2.0]
    """
    figure, axes = new_axes(*SIZE, x_label="step", y_label="learning rate")
    steps, values = series(metrics, "learning_rate")
    if not np.isfinite(values).any():
        say_empty(axes, "No learning rate was logged.")
        return figure
    curve = summarise(steps, values)
    axes.plot(curve.step, curve.mean, color=SERIES[0], lw=1.8, marker=_dot(steps))
    axes.set_ylim(bottom=0.0)
    whole_steps(axes, steps.tolist())
    return figure


def accuracy_by_batch_figure(rows: Rows) -> "Figure":
    """Draw mean accuracy over the global batch, a line for each optimizer.

    Args:
        rows: dictionaries with "optimizer", "global_batch", "mean" and "sd" in [0, 1]
            and "n", the number of seeds; bars are one standard deviation each way and
            are left out where n is 1.

    >>> row = {"optimizer": "lars", "global_batch": 256, "mean": 0.9, "sd": 0, "n": 1}
    >>> accuracy_by_batch_figure([row]).axes[0].get_xlabel()
    'global batch'
    """
    figure, axes = new_axes(
        6.4, 3.8, x_label="global batch", y_label="test accuracy, %"
    )
    if not rows:
        say_empty(axes, "Nothing was compared.")
        return figure
    names = list(dict.fromkeys(row["optimizer"] for row in rows))
    for place, name in enumerate(names):
        own = sorted(
            (row for row in rows if row["optimizer"] == name),
            key=lambda row: row["global_batch"],
        )
        _draw_optimizer(axes, own, place, shift=place - (len(names) - 1) / 2)
    _batch_ticks(axes, sorted({int(row["global_batch"]) for row in rows}))
    _headroom(axes)
    legend(axes)
    return figure


def _draw_pair(axes: "Axes", rows: Rows, name: str, *, scale: float) -> np.ndarray:
    """Draw train/name and eval/name, and return every finite value that was drawn."""
    drawn, steps = [np.zeros(0)], [0] * 0
    for place, (prefix, word) in enumerate(
        (("train", "training"), ("eval", "evaluation"))
    ):
        at, values = series(rows, f"{prefix}/{name}")
        if not np.isfinite(values).any():
            continue
        curve = summarise(at, scale * values)
        colour, marker = SERIES[place], _dot(at) if place == 0 else MARKERS[1]
        if len(at) > len(curve.step):
            axes.fill_between(
                curve.step, curve.low, curve.high, color=colour, alpha=0.16, lw=0
            )
        axes.plot(
            curve.step,
            curve.mean,
            color=colour,
            lw=1.8,
            marker=marker,
            markersize=4.5 if len(curve.step) <= 40 else 0,
            label=word,
        )
        drawn += [curve.mean[np.isfinite(curve.mean)]]
        steps += at.tolist()
    if not steps:
        say_empty(axes, f"No finite {name} was logged.")
    else:
        whole_steps(axes, steps)
        legend(axes)
    return np.concatenate(drawn)


def _dot(steps: np.ndarray) -> str:
    """Return the marker of a dense curve: none, unless a line would have no length."""
    return MARKERS[0] if len(steps) == 1 else ""


def _mark_not_finite(axes: "Axes", metrics: Rows, name: str) -> None:
    step = first_not_finite(metrics, name)
    if step is None or not axes.lines:
        return
    axes.axvline(step, color=ALERT, lw=1.2, ls=(0, (4, 3)))
    axes.annotate(
        f"not finite at step {step:,}",
        (step, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        color=ALERT,
        fontsize=TICK_SIZE,
    )


def _draw_optimizer(axes: "Axes", rows: Rows, place: int, *, shift: float) -> None:
    """Draw one optimizer, moved 4 % aside so that bars do not cover one another."""
    batches = np.array([row["global_batch"] for row in rows]) * 1.04**shift
    means = 100.0 * np.array([row["mean"] for row in rows])
    spread = 100.0 * np.array(
        [row["sd"] if row["n"] > 1 else np.nan for row in rows], np.float64
    )
    colour, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
    axes.errorbar(
        batches,
        means,
        yerr=spread if np.isfinite(spread).any() else None,
        color=colour,
        marker=marker,
        markersize=5.5,
        lw=1.8,
        elinewidth=1.2,
        capsize=3,
        label=str(rows[0]["optimizer"]),
    )


def _batch_ticks(axes: "Axes", batches: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.minorticks_off()
    axes.set_xlim(batches[0] / 1.25, batches[-1] * 1.25)
    axes.tick_params(axis="x", labelcolor=INK)


def _headroom(axes: "Axes") -> None:
    """Keep the axis within what an accuracy can be, with room for markers at 100 %."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -2.0), min(high, 101.0))
