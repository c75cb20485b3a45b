"""The trust ratio of every layer over the course of a run: a map of all, and lines.

The heat map has room for every layer's name; lines have room for the size of a change,
as the four of the paper's Figure 2, and show at once which layers leave the bundle.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lars_jax.errors import InputError
from lars_jax.report.rows import LayerTable, Row, layer_table, natural_key
from lars_jax.report.style import (
    TEXT_SIZE,
    gradation,
    legend_above,
    light,
    log_axis,
    log_locator,
    new_axes,
    scale_beside,
    step_axis,
    words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

WIDTH = 9.6
"""Inches; fills a page, and keeps its size where a phone scrolls it sideways."""

ROW_HEIGHT = 0.165
"""Inches of the map that a line of text needs."""

MOST_ROWS = 48
"""Layers up to which each has its line; of more, evenly spaced ones are named."""

WEIGHTS = ("kernel", "weight", "w", "embedding")
"""Names of the leaves that a layer is known by; they come first where kinds part."""

LINES_HEIGHT = 3.6
"""Inches of the lines, with their title."""

MOST_LABELS = 10
"""Layers named beside the lines; so many lines of text the height holds."""

LONGEST_LABEL = 32
"""Letters of a name that are shown; of a longer path both ends."""


def trust_ratio_figure(layers: Iterable[Row]) -> "Figure":
    """Draw the trust ratio of each layer (rows) over the steps (columns), as a map.

    Colours are on a logarithmic scale; a step between two records is shown as the
    nearer one. More than 48 layers are sorted by kind, kernels first and biases and
    scales after, because a kind has much the same ratio all through a network: what
    departs from its kind is then seen at once. Every layer keeps a row of the picture;
    evenly spaced ones are named. Ratios that are missing, zero or not finite stay
    blank. Layers that an optimizer excludes have a ratio of one throughout and are left
    out.

    Args:
        layers: rows with `step` and `layers`, a mapping from the parameter's path to a
            mapping that may have `trust_ratio`, dimensionless.

    Raises:
        InputError: no layer has a trust ratio above zero that is not always one.

    Reference:
        Algorithm 1 and Figure 2 of https://arxiv.org/abs/1708.03888

    >>> layers = [{"step": 1, "layers": {"fc/kernel": {"trust_ratio": 0.001}}}]
    >>> trust_ratio_figure(layers).axes[0].collections[0].get_array().tolist()
    [[0.001]]
    """
    table = layer_table(layers, "trust_ratio")
    table = table.take(table.adapted())
    if not table.names:
        raise InputError(
            "a trust-ratio figure needs a layer with a trust_ratio above zero, not "
            "always one; got none: record layers of an optimizer that adapts them"
        )
    count = len(table.names)
    kinds = [
        name.rsplit("/", 1)[-1] if count > MOST_ROWS else "" for name in table.names
    ]
    order = sorted(
        range(count), key=lambda row: (kinds[row] not in WEIGHTS, kinds[row])
    )
    table, kinds = table.take(order), [kinds[row] for row in order]
    height = ROW_HEIGHT * min(count, MOST_ROWS) + 1.0
    figure, axes = new_axes(WIDTH, height, "Trust ratio of each layer")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    image = _draw_map(axes, table)
    for row in range(1, count):
        if kinds[row] != kinds[row - 1]:
            axes.axhline(row - 0.5, color=light("paper"), linewidth=2.0)
    stride = -(-count // MOST_ROWS)
    axes.set_yticks(range(0, count, stride), table.names[::stride])
    ticks = log_locator(*image.get_clim())
    options = {"aspect": 30, "fraction": 0.04, "pad": 0.015, "format": "{x:g}"}
    scale_beside(image, ax=axes, ticks=ticks, **options).minorticks_off()
    return figure


def plot_trust_ratios(
    steps: ArrayLike,
    ratios: ArrayLike,
    names: Sequence[str],
    *,
    pattern: str | None = None,
    title: str = "Trust ratio of each layer",
) -> "Figure":
    """Draw one line for each layer, trust ratio or effective rate over the steps.

    The scale is logarithmic. Colour tells where a layer stands among the names, in the
    order that people count in, which need not be that of the network. Of many layers a
    few are named at their line's end, evenly spaced from the highest to the lowest. A
    value that is missing, zero, negative or not finite leaves a gap. Layers that an
    optimizer excludes have a ratio of one throughout and are left out.

    Args:
        steps: [T], at which the ratios were recorded, in any order.
        ratios: [T, L], dimensionless; effective rates as well.
        names: of the L layers, such as `layer_names(params)` returns.
        pattern: regular expression, searched for anywhere in a name; None: all layers.
        title: what the figure shows.

    Returns:
        A figure that belongs to no window. A notebook shows it where it is the last
        value of a cell and `matplotlib.pyplot` has been imported.

    Raises:
        InputError: shapes that do not belong together, a pattern that is none or
            matches no name, or nothing positive to draw other than one throughout.

    Reference:
        Figure 2 of https://arxiv.org/abs/1708.03888

    >>> ratios = [[0.002, 0.01], [0.001, 0.0]]
    >>> figure = plot_trust_ratios([1, 2], ratios, ["conv/kernel", "fc/kernel"])
    >>> [line.get_ydata().tolist() for line in figure.axes[0].lines]
    [[0.002, 0.001], [0.01, nan]]
    """
    table = _chosen(_table(steps, ratios, names), pattern)
    adapted = table.take(table.adapted())
    if not adapted.names:
        raise InputError(
            f"lines need a value above zero, not always one; got none in "
            f"{len(table.names)} layers at {len(table.step)} steps: pass layers of an "
            "optimizer that adapts them"
        )
    value = np.where(_positive(adapted.value), adapted.value, np.nan)
    figure, axes = new_axes(WIDTH, LINES_HEIGHT, title)
    colours, labelled = gradation(len(value)), _labelled(value)
    for row, colour in enumerate(colours):
        bold = row in labelled
        axes.plot(
            adapted.step,
            value[row],
            color=colour,
            linewidth=1.5 if bold else 0.8,
            alpha=1.0 if bold else 0.6,
            zorder=3 if bold else 2,
            # A value between two gaps is no line; without a mark it would be lost.
            marker="o",
            markersize=3.0,
            markevery=_alone(value[row]),
        )
    if len(value) > 1:
        axes.lines[0].set_label("first")
        axes.lines[-1].set_label("last by name")
    log_axis(axes)
    step_axis(axes, int(adapted.step[0]), int(adapted.step[-1]))
    # Room for the leaders is beside the axes, not within.
    axes.set_xmargin(0.01)
    _name_lines(axes, labelled, short_names(adapted.names))
    legend_above(axes)
    return figure


def short_names(names: Sequence[str]) -> list[str]:
    """Return names without the components that all share, long ones cut in the middle.

    >>> short_names(["net/a/conv/kernel", "net/b/conv/kernel"])
    ['a', 'b']
    >>> short_names(["net/conv/kernel", "net/conv/bias"])
    ['kernel', 'bias']
    """
    paths = [name.split("/") for name in names]
    if len(set(names)) > 1:
        head = len(os.path.commonprefix([path[:-1] for path in paths]))
        tail = len(os.path.commonprefix([path[:head:-1] for path in paths]))
        paths = [path[head : len(path) - tail] for path in paths]
    half = LONGEST_LABEL // 2
    whole = ["/".join(path) for path in paths]
    return [
        name if len(name) <= LONGEST_LABEL else f"{name[:half]}…{name[1 - half :]}"
        for name in whole
    ]


def _draw_map(axes: "Axes", table: LayerTable) -> "QuadMesh":
    from matplotlib.colors import LogNorm

    step, value = table.step, np.ma.masked_where(~_positive(table.value), table.value)
    low, high = float(value.min()), float(value.max())
    if low == high:
        # One value alone has no scale: give it a decade to lie in.
        low, high = low / 10**0.5, high * 10**0.5
    middle = (step[1:] + step[:-1]) / 2
    edges = np.concatenate([[step[0] - 0.5], middle, [step[-1] + 0.5]])
    image = axes.pcolormesh(
        edges,
        np.arange(len(value) + 1) - 0.5,
        value,
        cmap="cividis",
        norm=LogNorm(low, high),
        # Hundreds of thousands of paths would weigh more than the picture of them.
        rasterized=True,
    )
    axes.invert_yaxis()
    step_axis(axes, int(step[0]), int(step[-1]))
    return image


def _positive(value: np.ndarray) -> np.ndarray:
    return np.isfinite(value) & (value > 0)


def _table(steps: ArrayLike, ratios: ArrayLike, names: Sequence[str]) -> LayerTable:
    step, value = np.asarray(steps), np.asarray(ratios, np.float64)
    if step.ndim != 1 or value.shape != (len(step), len(names)):
        raise InputError(
            "lines need steps [T], ratios [T, L] and L names; got steps "
            f"{list(step.shape)}, ratios {list(value.shape)} and {len(names)} names: "
            "stack one row of ratios for each step"
        )
    order = sorted(range(len(names)), key=lambda column: natural_key(names[column]))
    rising = np.argsort(step, kind="stable")
    return LayerTable(
        tuple(names), step[rising].astype(np.int64), value[rising].T
    ).take(order)


def _chosen(table: LayerTable, pattern: str | None) -> LayerTable:
    if pattern is None:
        return table
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"pattern must be a regular expression; got {pattern!r}, {error}: escape "
            "what is meant literally"
        ) from error
    rows = [row for row, name in enumerate(table.names) if regex.search(name)]
    if not rows:
        raise InputError(
            f"pattern must match some layer; got {pattern!r}, which matches none of "
            f"{list(table.names)}: choose another or leave it out"
        )
    return table.take(rows)


def _alone(value: np.ndarray) -> list[int]:
    known = np.pad(np.isfinite(value), 1)
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]).tolist()


def _last(value: np.ndarray) -> tuple[int, float]:
    column = int(np.flatnonzero(np.isfinite(value))[-1])
    return column, float(value[column])


def _labelled(value: np.ndarray) -> list[int]:
    """Return rows to name, by falling last value: the ends and evenly between."""
    known = np.flatnonzero(np.isfinite(value).any(axis=1))
    last = [_last(value[row])[1] for row in known]
    falling = known[np.argsort(last, kind="stable")[::-1]]
    count = min(len(falling), MOST_LABELS)
    return falling[np.linspace(0, len(falling) - 1, count).round().astype(int)].tolist()


def _name_lines(axes: "Axes", rows: list[int], names: list[str]) -> None:
    """Name lines at their last value, beside the axes and by falling height."""
    lines = [axes.lines[row] for row in rows]
    steps, values = (
        axes.lines[0].get_xdata(),
        [np.asarray(x.get_ydata()) for x in lines],
    )
    ends = [
        (float(np.asarray(steps)[column]), last) for column, last in map(_last, values)
    ]
    low, high = np.log10(axes.get_ylim())
    heights = _apart([(np.log10(last) - low) / (high - low) for _, last in ends])
    for row, line, end, place in zip(rows, lines, ends, heights, strict=True):
        axes.annotate(
            names[row],
            xy=end,
            xytext=(1.03, place),
            textcoords="axes fraction",
            verticalalignment="center",
            **words("muted"),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "linewidth": 0.8,
                "linestyle": (0, (1, 2)),
                "relpos": (0.0, 0.5),
                "shrinkA": 2,
                "shrinkB": 0,
            },
        )


def _apart(heights: list[float]) -> list[float]:
    """Return falling heights in the axes with a line of text between any two.

    Those that are too close make a block of lines around their mean.
    """
    line = 1.3 * TEXT_SIZE / 72 / (LINES_HEIGHT - 0.9)
    blocks: list[list[float]] = []
    for number, height in enumerate(heights):
        # Less the lines above it, a height has only to be no greater than the last.
        blocks.append([height + number * line])
        while len(blocks) > 1 and np.mean(blocks[-2]) < np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    tops = [float(np.mean(block)) for block in blocks for _ in block]
    lowest = (len(heights) - 1) * line
    return [min(max(top, lowest), 1.0) - n * line for n, top in enumerate(tops)]
