"""Curves over the steps of a run, and figures that compare several runs."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.rows import Row, Series, band, series
from lars_jax.report.style import (
    SERIES,
    identity,
    legend_above,
    light,
    log_axis,
    new_axes,
    step_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """What one figure of a report shows over the steps.

    Attributes:
        title: what it is.
        lines: for each quantity of the rows its name in the legend, or "".
        unit: what the values are: numbers, shares of one, or whole counts from 0.
        is_loss: whether the first value that is not finite is marked.
        log_from: ratio of the largest to the smallest value, all above zero, from
            which the axis is logarithmic.
        reference: quantity whose median is drawn dashed, and what it is of.
    """

    title: str
    lines: Mapping[str, str]
    unit: Literal["number", "share", "count"] = "number"
    is_loss: bool = False
    log_from: float = np.inf
    reference: tuple[str, str] | None = None

    def found(self, rows: Iterable[Row]) -> dict[str, Series]:
        """Return those of its quantities that some row has."""
        rows = list(rows)
        points = {name: series(rows, name) for name in self.lines}
        return {name: own for name, own in points.items() if len(own.step)}

    def diverged(self, rows: Iterable[Row]) -> tuple[int, str] | None:
        """Return step and quantity of the first loss that is not finite, if any is."""
        if not self.is_loss:
            return None
        broken = [
            (int(own.step[~np.isfinite(own.value)][0]), name)
            for name, own in self.found(rows).items()
            if not np.isfinite(own.value).all()
        ]
        return min(broken, key=lambda found: found[0], default=None)


TRUE = "true samples"


def _distance(title: str, name: str) -> Curve:
    lines = {f"eval/{name}": "generators", f"eval/average/{name}": "averaged"}
    return Curve(title, lines, log_from=1.0, reference=(f"floor/{name}", TRUE))


CURVES = (
    Curve(
        "Loss",
        {"train/loss": "training", "eval/loss": "evaluation"},
        is_loss=True,
        log_from=10.0,
    ),
    Curve(
        "Accuracy",
        {"train/accuracy": "training", "eval/accuracy": "evaluation"},
        "share",
    ),
    Curve("Learning rate", {"learning_rate": ""}),
    Curve(
        "Losses",
        {
            "discriminator_loss": "discriminator",
            "generator_loss": "generators",
            "classifier_loss": "classifier",
        },
        is_loss=True,
    ),
    _distance("Wasserstein distance", "wasserstein"),
    _distance("Symmetric KL divergence", "symmetric_kl"),
    Curve("Modes covered", {"eval/modes": ""}, "count"),
    Curve("Purity of the generators", {"eval/purity": ""}, "share"),
)
"""All that a report draws of the rows that have it, in this order."""


def curve_figure(metrics: Iterable[Row], curve: Curve) -> "Figure":
    """Draw quantities of a run over its steps.

    A long series is drawn as the mean of each interval inside the band of its
    extremes. Of shares the legend tells the last evaluation. A dashed line marks the
    first step at which a loss is not finite.

    Args:
        metrics: rows with `step` and any of the quantities of the curve.
        curve: what to draw.

    Raises:
        InputError: no row has any of the quantities.

    >>> figure = curve_figure([{"step": 1, "train/loss": 2.3}], CURVES[0])
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [2.3]
    >>> figure = curve_figure([{"step": 9, "eval/accuracy": 0.9306}], CURVES[1])
    >>> figure.axes[0].lines[0].get_label()
    'evaluation, 93.06 %'
    """
    rows = list(metrics)
    points = curve.found(rows)
    if not points:
        raise InputError(
            f"this figure needs rows with any of {', '.join(curve.lines)}; got none "
            f"in {len(rows)}: log one"
        )
    # Three abreast fill a page, one a phone.
    figure, axes = new_axes(4.0, 2.6, curve.title)
    for colour, (name, label) in zip(
        itertools.cycle(SERIES), curve.lines.items(), strict=False
    ):
        if name in points:
            step, *reach = band(points[name])
            evaluated = name.startswith("eval/")
            if evaluated and curve.unit == "share" and label:
                label += f", {100 * points[name].value[-1]:.2f} %"
            marker = "o" if len(step) <= (60 if evaluated else 1) else None
            look = {"marker": marker, "markersize": 3.5, "linewidth": 1.4}
            _draw_band(axes, step, *reach, color=light(colour), label=label, **look)
    values = np.concatenate([own.value for own in points.values()])
    if curve.reference:
        name, label = curve.reference
        known = series(rows, name).value
        if np.isfinite(known).any():
            median = float(np.median(known[np.isfinite(known)]))
            _draw_dashed(axes, median, label)
            values = np.append(values, median)
    _scale_axis(axes, curve, values[np.isfinite(values)])
    if broken := curve.diverged(rows):
        label = f"not finite from {broken[0]:,}"
        style = {"color": light("ink"), "linewidth": 1.0, "linestyle": (0, (3, 2))}
        axes.axvline(broken[0], label=label, **style)
    steps = np.concatenate([own.step for own in points.values()])
    step_axis(axes, int(steps.min()), int(steps.max()))
    legend_above(axes, least=1)
    return figure


def accuracy_by_batch_figure(rows: Iterable[Row]) -> "Figure":
    """Draw the accuracy of several optimizers over the size of the batch.

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
    rows = sorted(rows, key=lambda row: row["global_batch"])
    if not rows:
        raise InputError("a comparison needs at least one row; got none: run a cell")
    figure, axes = new_axes(6.4, 3.8, "Accuracy by batch size")
    bars: dict[str, list[tuple[int, float, float, float]]] = {}
    for row in rows:
        point = row["global_batch"], row["mean"], row["sd"], row["sd"]
        bars.setdefault(row["optimizer"], []).append(point)
    draw_error_bars(axes, bars)
    percent_axis(axes)
    seeds = _seeds([int(row["n"]) for row in rows], "mean and standard deviation over")
    axes.set_xlabel(f"global batch; {seeds}")
    legend_above(axes)
    return figure


def draw_error_bars(
    axes: "Axes", bars: Mapping[str, Sequence[tuple[int, float, float, float]]]
) -> None:
    """Draw several lines with error bars over a few whole numbers, by powers of two.

    Args:
        axes: to draw in.
        bars: of each line by its name the points, by rising x: x, y, and how far its
            bar reaches below y and above it.
    """
    for number, (name, points) in enumerate(bars.items()):
        x, y, below, above = np.transpose(points)
        # Lines stand a little apart, so that no bar hides another.
        shift = 2 ** (0.035 * (number - (len(bars) - 1) / 2))
        axes.errorbar(
            shift * x,
            y,
            yerr=(below, above),
            label=name,
            **identity(number),
            markersize=4.5,
            linewidth=1.6,
            capsize=3,
            elinewidth=1.0,
        )
    places = sorted({int(x) for points in bars.values() for x, *_ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()


def distance_figure(
    series: Mapping[str, Sequence[Series]],
    true_samples: float | None,
    *,
    title: str,
    unit: str = "",
    methods: Sequence[str] = (),
) -> "Figure":
    """Draw a distance of each method over the steps, on a logarithmic axis.

    The line is the mean of the seeds, the band reaches from the least to the greatest
    of them. A value that is not finite or not above zero has no place on the axis and
    is left out; a step that some seeds lack shows those that have it.

    Args:
        series: of each method by its name, one of `step` and `value` for each seed.
        true_samples: the distance that as many true samples have, drawn dashed; None:
            not known.
        title: what the figure shows.
        unit: what the y axis counts, or "".
        methods: names of all methods of a comparison, so that each has the same colour
            in every figure of it, whichever it lacks; (): those of `series`.

    Raises:
        InputError: nothing positive to draw, a series whose steps and values differ in
            number, a method that `methods` lacks, or a distance of true samples that
            is not positive.

    Reference:
        Figures 2a and 2b of https://arxiv.org/abs/1708.02556

    >>> seeds = [Series(np.array([1, 2]), np.array([4.0, d])) for d in (1.0, 3.0)]
    >>> figure = distance_figure({"MGAN": seeds}, 0.5, title="Wasserstein distance")
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [4.0, 2.0]
    """
    names = list(methods or series)
    if lacking := [name for name in series if name not in names]:
        raise InputError(
            f"methods must name all that are drawn; {names} lack {lacking}: add them"
        )
    if true_samples is not None and not 0 < true_samples < np.inf:
        raise InputError(
            "a distance of true samples must be above zero and finite; got "
            f"{true_samples}: pass None for none"
        )
    drawn = {name: _gathered(name, seeds) for name, seeds in series.items()}
    drawn = {name: found for name, found in drawn.items() if found[1].size}
    if not drawn:
        raise InputError(
            f"a figure of distances needs a value above zero; got none in "
            f"{len(series)} methods: evaluate them"
        )
    figure, axes = new_axes(4.6, 2.8, title)
    for name, (step, value) in drawn.items():
        reach = [of(value, axis=0) for of in (np.nanmin, np.nanmean, np.nanmax)]
        look = identity(names.index(name)) | {"markersize": 4.0, "linewidth": 1.6}
        # Twelve marks at most; more would make it a string of pearls.
        apart = -(-len(step) // 12)
        _draw_band(axes, step, *reach, label=name, markevery=apart, **look)
    if true_samples is not None:
        _draw_dashed(axes, true_samples, TRUE)
    log_axis(axes)
    steps = np.concatenate([step for step, _ in drawn.values()])
    step_axis(axes, int(steps.min()), int(steps.max()))
    seeds = _seeds([len(value) for _, value in drawn.values()], "mean and range of")
    axes.set(xlabel=f"step; {seeds}", ylabel=unit)
    legend_above(axes)
    return figure


def _draw_band(
    axes: "Axes",
    step: np.ndarray,
    low: np.ndarray,
    mean: np.ndarray,
    high: np.ndarray,
    **style: Any,
) -> None:
    """Draw a line, and from low to high a band where that is wider than the line."""
    axes.plot(step, mean, **style)
    if (low < high).any():
        axes.fill_between(step, low, high, color=style["color"], alpha=0.2, linewidth=0)


def _draw_dashed(axes: "Axes", value: float, label: str) -> None:
    style = {"color": light("muted"), "linewidth": 1.3, "linestyle": (0, (4, 2))}
    axes.axhline(value, label=label, **style)


def _scale_axis(axes: "Axes", curve: Curve, values: np.ndarray) -> None:
    """Scale the y axis to finite values that were drawn."""
    from matplotlib.ticker import MaxNLocator

    if curve.unit == "share":
        percent_axis(axes)
    elif curve.unit == "count":
        # From none, so that the height is the count; above the most, room for its mark.
        axes.set_ylim(0, 1.06 * max([1.0, *values]))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
    elif len(values) and values.max() / curve.log_from >= values.min() > 0:
        log_axis(axes)


def percent_axis(axes: "Axes") -> None:
    """Mark fractions of one on the y axis as percent."""
    bottom, top = axes.get_ylim()
    # No share lies outside; a little room keeps marks at the ends whole, unnamed.
    axes.set_ylim(max(bottom, -0.02), min(top, 1.02))
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{100 * value:.4g} %" if value < 1.001 else ""
    )


def _gathered(name: str, seeds: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps [S] that any seed has, and values [seeds, S], NaN for none."""
    found: list[dict[int, float]] = []
    for step, value in seeds:
        if np.ndim(step) != 1 or np.shape(step) != np.shape(value):
            raise InputError(
                f"a series of {name} must have a value for each step; got steps "
                f"{[*np.shape(step)]} and values {[*np.shape(value)]}: pass both alike"
            )
        pairs = zip(step, value, strict=True)
        found.append({int(at): own for at, own in pairs if 0 < own < np.inf})
    steps = sorted(set().union(*found))
    table = [[own.get(step, np.nan) for step in steps] for own in found]
    return np.array(steps), np.array(table)


def _seeds(counts: list[int], what: str) -> str:
    least, most = min(counts), max(counts)
    if most == 1:
        return "one seed each"
    return f"{what} {most if least == most else f'{least} to {most}'} seeds"
