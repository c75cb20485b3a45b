"""The curves of a game between generators, discriminator and classifier."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.distances import TRUE
from lars_jax.report.figures import (
    HEIGHT,
    WIDTH,
    draw_band,
    mark_divergence,
    mark_steps,
    percent_axis,
)
from lars_jax.report.legend import LINE, legend_below_title, legend_shape
from lars_jax.report.rows import Row, Series, series
from lars_jax.report.scale import logarithmic_axis
from lars_jax.report.style import SERIES, light, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES = {
    "discriminator_loss": "discriminator",
    "generator_loss": "generators",
    "classifier_loss": "classifier",
}
"""Names in the rows and in the legend."""


def game_loss_figure(metrics: Iterable[Row]) -> "Figure":
    """Draw the losses of the players over the steps.

    A long series is drawn as the mean of each interval inside the band of its
    extremes. A dashed line marks the first step at which a loss is not finite.

    Args:
        metrics: rows with `step` and any of `discriminator_loss`, `generator_loss`,
            `classifier_loss`, in nats.

    Raises:
        InputError: no row has a loss.

    >>> figure = game_loss_figure([{"step": 1, "generator_loss": 0.7}])
    >>> figure.axes[0].lines[0].get_label()
    'generators'
    """
    points = _known(metrics, LOSSES)
    first = first_broken(points)
    legend = [LOSSES[name] for name in points] + ["not finite from 10,000"] * bool(
        first
    )
    figure, axes, columns = _new_axes("Losses", legend)
    for number, name in enumerate(LOSSES):
        if name in points:
            draw_band(axes, points[name], SERIES[number], LOSSES[name])
    if first:
        mark_divergence(axes, points[first])
    mark_steps(axes, *points.values())
    legend_below_title(axes, columns)
    return figure


def game_distance_figure(metrics: Iterable[Row], name: str, title: str) -> "Figure":
    """Draw a distance between generated and true samples over the steps.

    The distance of the averaged generators is drawn beside that of the generators as
    they are. The axis is logarithmic where all values are above zero. The distance of
    true samples, the median of those recorded, is dashed.

    Args:
        metrics: rows with `step` and any of `eval/<name>`, `eval/average/<name>`;
            `floor/<name>` where it is known.
        name: of the distance, such as `wasserstein`.
        title: what the figure shows.

    Raises:
        InputError: no row has the distance.

    >>> rows = [{"step": 1, "eval/wasserstein": 2.0, "floor/wasserstein": 0.1}]
    >>> figure = game_distance_figure(rows, "wasserstein", "Wasserstein distance")
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['generators', 'true samples']
    """
    rows = list(metrics)
    labels = {f"eval/{name}": "generators", f"eval/average/{name}": "averaged"}
    points = _known(rows, labels)
    figure, axes, columns = _new_axes(title, [*labels.values(), TRUE])
    for number, key in enumerate(labels):
        if key in points:
            draw_band(axes, points[key], SERIES[number], labels[key])
    floors = series(rows, f"floor/{name}").value
    floors = floors[np.isfinite(floors)]
    if len(floors):
        style = {"color": light("muted"), "linewidth": 1.3, "linestyle": (0, (4, 2))}
        axes.axhline(float(np.median(floors)), label=TRUE, **style)
    every = np.concatenate([*(found.value for found in points.values()), floors])
    every = every[np.isfinite(every)]
    if len(every) and every.min() > 0:
        logarithmic_axis(axes, every)
    mark_steps(axes, *points.values())
    legend_below_title(axes, columns)
    return figure


def game_evaluation_figure(metrics: Iterable[Row], name: str, title: str) -> "Figure":
    """Draw one other quantity of the evaluation over the steps.

    Args:
        metrics: rows with `step` and `eval/<name>`.
        name: `modes`, a count, or `purity`, a fraction of one.
        title: what the figure shows.

    Raises:
        InputError: no row has the quantity.

    >>> rows = [{"step": 1, "eval/modes": 8}]
    >>> figure = game_evaluation_figure(rows, "modes", "Modes covered")
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [8.0]
    """
    points = _known(metrics, {f"eval/{name}": ""})
    figure, axes, _ = _new_axes(title, [])
    for found in points.values():
        draw_band(axes, found, SERIES[0], "")
    if name == "purity":
        percent_axis(axes)
    else:
        _count_axis(axes, *points.values())
    mark_steps(axes, *points.values())
    return figure


def first_broken(points: Mapping[str, Series]) -> str | None:
    """Return the name of the series that is the first not to be finite, if any is.

    >>> first_broken({"a": Series(np.array([1]), np.array([np.inf]))})
    'a'
    """
    broken = {
        name: int(found.step[~np.isfinite(found.value)][0])
        for name, found in points.items()
        if not np.isfinite(found.value).all()
    }
    return min(broken, key=lambda name: broken[name]) if broken else None


def drawable(metrics: Iterable[Row]) -> "dict[str, Callable[[], Figure]]":
    """Return how to draw each figure that the rows allow, by what it shows.

    >>> [*drawable([{"step": 1, "eval/modes": 8, "learning_rate": 0.1}])]
    ['Modes covered']
    """
    rows = list(metrics)
    known = {name for row in rows for name in row}
    found: dict[str, Callable[[], Figure]] = {}
    if known & {*LOSSES}:
        found["Losses"] = lambda: game_loss_figure(rows)
    for name, title in (
        ("wasserstein", "Wasserstein distance"),
        ("symmetric_kl", "Symmetric KL divergence"),
    ):
        if known & {f"eval/{name}", f"eval/average/{name}"}:
            found[title] = lambda name=name, title=title: game_distance_figure(
                rows, name, title
            )
    for name, title in (
        ("modes", "Modes covered"),
        ("purity", "Purity of the generators"),
    ):
        if f"eval/{name}" in known:
            found[title] = lambda name=name, title=title: game_evaluation_figure(
                rows, name, title
            )
    return found


def _known(metrics: Iterable[Row], names: Iterable[str]) -> dict[str, Series]:
    rows, names = list(metrics), list(names)
    points = {name: series(rows, name) for name in names}
    points = {name: found for name, found in points.items() if len(found.step)}
    if not points:
        raise InputError(
            f"this figure needs rows with any of {', '.join(names)}; got none in "
            f"{len(rows)}: log one"
        )
    return points


def _new_axes(title: str, legend: list[str]) -> "tuple[Figure, Axes, int]":
    """Return empty axes with room for a legend, and its columns.

    Those without one have the room too, so that all stand level.
    """
    columns, lines = legend_shape(legend, WIDTH)
    pad = 9 + LINE * max(lines, 1)
    return *new_axes(WIDTH, HEIGHT + 0.2, title, pad=pad), columns


def _count_axis(axes: "Axes", *points: Series) -> None:
    from matplotlib.ticker import MaxNLocator

    values = np.concatenate([found.value for found in points])
    most = max([1.0, *values[np.isfinite(values)]])
    # From none, so that the height is the count; above the most, room for its mark.
    axes.set_ylim(0, 1.06 * most)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
