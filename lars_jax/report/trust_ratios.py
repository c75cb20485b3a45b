"""A line for every layer over the steps, as the paper's Figure 2 draws four of them.

The heat map of the same numbers has room for every layer's name; lines have room for
the size of a change, and show at once which layers leave the bundle.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lars_jax.errors import InputError
from lars_jax.report.heat_map import adapted_rows
from lars_jax.report.rows import LayerTable, natural_order
from lars_jax.report.scale import logarithmic_axis
from lars_jax.report.style import (
    TEXT_SIZE,
    gradation,
    legend_above,
    light,
    new_axes,
    step_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.6, 3.8
"""Inches; as wide as the heat map, so that steps stand above steps."""

MOST_LABELS = 10
"""Layers named beside the lines; so many lines of text the height holds."""

LONGEST_LABEL = 32
"""Letters of a name that are shown; of a longer path both ends."""


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
    rows = adapted_rows(table)
    if not len(rows):
        raise InputError(
            f"lines need a value above zero, not always one; got none in "
            f"{len(table.names)} layers at {len(table.step)} steps: pass layers of an "
            "optimizer that adapts them"
        )
    value = table.value[rows]
    value = np.where(np.isfinite(value) & (value > 0), value, np.nan)
    kept = short_names([table.names[row] for row in rows])
    figure, axes = new_axes(WIDTH, HEIGHT, title)
    low, high = logarithmic_axis(axes, value)
    labelled = _labelled(value)
    places = np.linspace(0, 1, len(kept)) if len(kept) > 1 else np.zeros(1)
    colours = [gradation(place) for place in places]
    _draw_lines(axes, table.step, value, colours, labelled)
    step_axis(axes, int(table.step[0]), int(table.step[-1]))
    # Room for the leaders is beside the axes, not within.
    axes.set_xmargin(0.01)
    ends = {row: np.log10(_last(value[row])[1]) for row in labelled}
    heights = _apart([(ends[row] - low) / (high - low) for row in labelled])
    for row, height in zip(labelled, heights, strict=True):
        _label(axes, kept[row], table.step, value[row], colours[row], height)
    if len(kept) > 1:
        _draw_key(axes, colours)
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
        spare = min(map(len, paths)) - 1
        head = _shared(paths, spare)
        tail = _shared([path[::-1] for path in paths], spare - head)
        paths = [path[head : len(path) - tail] for path in paths]
    return [_cut("/".join(path)) for path in paths]


def _shared(paths: list[list[str]], most: int) -> int:
    """Return how many components all paths begin with, up to a number."""
    same = [len(set(components)) == 1 for components in zip(*paths, strict=False)]
    return min(most, [*same, False].index(False))


def _cut(name: str) -> str:
    if len(name) <= LONGEST_LABEL:
        return name
    half = (LONGEST_LABEL - 1) // 2
    return f"{name[: LONGEST_LABEL - 1 - half]}…{name[-half:]}"


def _table(steps: ArrayLike, ratios: ArrayLike, names: Sequence[str]) -> LayerTable:
    step, value = np.asarray(steps), np.asarray(ratios, np.float64)
    if step.ndim != 1 or value.shape != (len(step), len(names)):
        raise InputError(
            "lines need steps [T], ratios [T, L] and L names; got steps "
            f"{list(step.shape)}, ratios {list(value.shape)} and {len(names)} names: "
            "stack one row of ratios for each step"
        )
    place = {name: number for number, name in enumerate(natural_order(names))}
    order = sorted(range(len(names)), key=lambda column: place[names[column]])
    rising = np.argsort(step, kind="stable")
    return LayerTable(
        tuple(names[column] for column in order),
        step[rising].astype(np.int64),
        value[rising][:, order].T,
    )


def _chosen(table: LayerTable, pattern: str | None) -> LayerTable:
    if pattern is None:
        return table
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"pattern must be a regular expression; {pattern!r}: {error}"
        ) from error
    rows = [row for row, name in enumerate(table.names) if regex.search(name)]
    if not rows:
        raise InputError(
            f"pattern must match some layer; {pattern!r} matches none of "
            f"{list(table.names)}: mend the pattern or leave it out"
        )
    names = tuple(table.names[row] for row in rows)
    return LayerTable(names, table.step, table.value[rows])


def _draw_lines(
    axes: "Axes",
    step: np.ndarray,
    value: np.ndarray,
    colours: list[str],
    labelled: list[int],
) -> None:
    for row, colour in enumerate(colours):
        bold = row in labelled
        axes.plot(
            step,
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


def _apart(heights: list[float]) -> list[float]:
    """Return falling heights in the axes with a line of text between any two.

    Those that are too close make a block of lines around their mean.
    """
    line = 1.3 * TEXT_SIZE / 72 / (HEIGHT - 0.9)
    blocks: list[list[float]] = []
    for number, height in enumerate(heights):
        # Less the lines above it, a height has only to be no greater than the last.
        blocks.append([height + number * line])
        while len(blocks) > 1 and np.mean(blocks[-2]) < np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    tops = [float(np.mean(block)) for block in blocks for _ in block]
    lowest = (len(heights) - 1) * line
    return [min(max(top, lowest), 1.0) - n * line for n, top in enumerate(tops)]


def _label(
    axes: "Axes",
    name: str,
    step: np.ndarray,
    value: np.ndarray,
    colour: str,
    height: float,
) -> None:
    column, last = _last(value)
    axes.annotate(
        name,
        xy=(float(step[column]), last),
        xytext=(1.03, height),
        textcoords="axes fraction",
        verticalalignment="center",
        fontsize=TEXT_SIZE,
        color=light("muted"),
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.8,
            "linestyle": (0, (1, 2)),
            "relpos": (0.0, 0.5),
            "shrinkA": 2,
            "shrinkB": 0,
        },
    )


def _draw_key(axes: "Axes", colours: list[str]) -> None:
    """Put over the axes what the colours mean."""
    from matplotlib.lines import Line2D

    ends = {"first": colours[0], "last by name": colours[-1]}
    legend_above(
        axes,
        [Line2D([], [], color=c, linewidth=2, label=name) for name, c in ends.items()],
    )
