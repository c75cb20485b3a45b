"""The trust ratio of every layer over the course of a run: a map of all, and lines.

The heat map has room for every layer's name; lines have room for the size of a change,
as the four of the paper's Figure 2, and show at once which layers leave the bundle.
"""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lars_jax.errors import InputError
from lars_jax.report.rows import Layers, Row, adapted, layer_series, natural_key
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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

WIDTH = 9.6  # Inches; fills a page, and keeps its size where a phone scrolls it.
LINES_HEIGHT = 3.6  # Inches of the lines, with their title.
MOST_ROWS = 48  # Layers that have a line of text each; of more, some are named.
MOST_LABELS = 10  # Layers named beside the lines; the height holds so many.
LONGEST_LABEL = 32  # Letters of a name that are shown; of a longer path both ends.


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
    step, ratios = layer_series(layers, "trust_ratio")
    ratios = _drawable(step, ratios)
    many = len(ratios) > MOST_ROWS
    names = sorted(ratios, key=_kind) if many else [*ratios]
    # The height that a line of text needs.
    height = 0.165 * min(len(names), MOST_ROWS) + 1.0
    figure, axes = new_axes(WIDTH, height, "Trust ratio of each layer")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    image = _draw_map(axes, step, np.stack([ratios[name] for name in names]))
    for row, (one, other) in enumerate(itertools.pairwise(names)):
        if many and _kind(one) != _kind(other):
            axes.axhline(row + 0.5, color=light("paper"), linewidth=2.0)
    stride = -(-len(names) // MOST_ROWS)
    axes.set_yticks(range(0, len(names), stride), names[::stride])
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
    step, values = np.asarray(steps), np.asarray(ratios, np.float64)
    if step.ndim != 1 or values.shape != (len(step), len(set(names))):
        raise InputError(
            "lines need steps [T], ratios [T, L] and L names; got steps "
            f"{list(step.shape)}, ratios {list(values.shape)} and {len(set(names))} "
            "names: stack one row of ratios for each step"
        )
    rising = np.argsort(step, kind="stable")
    step, by_name = step[rising], dict(zip(names, values[rising].T, strict=True))
    chosen = sorted(_matching(names, pattern), key=natural_key)
    lines = {
        name: np.where(_positive(value), value, np.nan)
        for name, value in _drawable(step, {n: by_name[n] for n in chosen}).items()
    }
    figure, axes = new_axes(WIDTH, LINES_HEIGHT, title)
    for colour, value in zip(gradation(len(lines)), lines.values(), strict=True):
        axes.plot(
            step,
            value,
            color=colour,
            linewidth=0.8,
            alpha=0.6,
            # A value between two gaps is no line; without a mark it would be lost.
            marker="o",
            markersize=3.0,
            markevery=_alone(value),
        )
    if len(lines) > 1:
        axes.lines[0].set_label("first")
        axes.lines[-1].set_label("last by name")
    log_axis(axes)
    step_axis(axes, int(step[0]), int(step[-1]))
    # Room for the leaders is beside the axes, not within.
    axes.set_xmargin(0.01)
    _name_lines(axes, short_names([*lines]))
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


def _kind(name: str) -> tuple[bool, str]:
    """Return what sorts layers by kind, those of weights first."""
    leaf = name.rpartition("/")[2]
    return leaf not in ("kernel", "weight", "w", "embedding"), leaf


def _draw_map(axes: "Axes", step: np.ndarray, ratios: np.ndarray) -> "QuadMesh":
    from matplotlib.colors import LogNorm

    value = np.ma.masked_where(~_positive(ratios), ratios)
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


def _drawable(step: np.ndarray, ratios: Layers) -> Layers:
    found = adapted(ratios)
    if not found:
        raise InputError(
            "a figure of trust ratios needs a value above zero, not always one; got "
            f"none in {len(ratios)} layers at {len(step)} steps: pass layers of an "
            "optimizer that adapts them"
        )
    return found


def _matching(names: Sequence[str], pattern: str | None) -> list[str]:
    try:
        found = [name for name in names if re.search(pattern or "", name)]
    except re.error as error:
        raise InputError(
            f"pattern must be a regular expression; got {pattern!r}, {error}: escape "
            "what is meant literally"
        ) from error
    if pattern and not found:
        raise InputError(
            f"pattern must match some layer; got {pattern!r}, which matches none of "
            f"{list(names)}: choose another or leave it out"
        )
    return found


def _alone(value: np.ndarray) -> list[int]:
    known = np.pad(np.isfinite(value), 1)
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]).tolist()


def _name_lines(axes: "Axes", names: list[str]) -> None:
    """Name lines at their last value, beside the axes, and draw those bold.

    They are the highest, the lowest and others evenly between.
    """
    points = [np.asarray(line.get_xydata()) for line in axes.lines]
    known = [own[np.isfinite(own[:, 1])] for own in points]
    ends = {row: own[-1] for row, own in enumerate(known) if len(own)}
    falling = sorted(ends, key=lambda row: ends[row][1])[::-1]
    count = min(len(falling), MOST_LABELS)
    chosen = np.linspace(0, len(falling) - 1, count).round().astype(int)
    rows = [falling[place] for place in chosen]
    low, high = np.log10(axes.get_ylim())
    last = np.log10([ends[row][1] for row in rows])
    for row, height in zip(rows, _apart((last - low) / (high - low)), strict=True):
        line = axes.lines[row]
        line.set(linewidth=1.5, alpha=1.0, zorder=3)
        axes.annotate(
            names[row],
            xy=tuple(ends[row]),
            xytext=(1.03, height),
            textcoords="axes fraction",
            verticalalignment="center",
            fontsize=TEXT_SIZE,
            color=light("muted"),
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


def _apart(heights: np.ndarray) -> list[float]:
    """Return falling heights in the axes, moved to have a line of text between any."""
    from scipy.optimize import isotonic_regression

    line = 1.3 * TEXT_SIZE / 72 / (LINES_HEIGHT - 0.9)
    above = line * np.arange(len(heights))
    # Less the lines above it, a height has only to be no greater than the last.
    level = isotonic_regression(heights + above, increasing=False).x
    return (level.clip(above[-1], 1.0) - above).tolist()
