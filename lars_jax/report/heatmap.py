"""Trust ratios of all layers over a run, as one picture.

Layers are gathered by what they are (kernel, bias, scale) and then in natural order of
their names: neighbours in the picture are neighbours in the network, and a picture of
467 layers still shows bands instead of stripes.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lars_jax.report.series import LayerHistory, Rows, layer_history, parts
from lars_jax.report.style import (
    INK,
    LABEL_SIZE,
    MISSING,
    MUTED,
    SMALL_SIZE,
    TICK_SIZE,
    dress,
    new_axes,
    new_figure,
    say_empty,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

MOST_COLUMNS = 240
MOST_KINDS = 4
ROW_HEIGHT = 0.17
"""Inches that a row with its own label needs."""

TALLEST = 9.0
"""Inches that all rows together may take; above it, only some rows are labelled."""


class Panel(NamedTuple):
    """Layers of one kind: log10 of their ratios, float64 [L, S]."""

    kind: str
    name: tuple[str, ...]
    value: np.ndarray


def trust_ratio_figure(layers: Rows) -> "Figure":
    """Draw log10 of the trust ratio, layer by step.

    lambda = eta ||w|| / (||g|| + beta ||w||), equation 6 of the paper. Colours span the
    2nd to the 98th percentile, so that a layer of zero norm, whose ratio is one, does
    not take all contrast from the others. Ratios that are absent, zero or not finite
    are grey.

    Args:
        layers: rows {"step", "layers": {path: {"trust_ratio": number, ...}}}.

    Returns:
        A figure with one panel for each kind of parameter and a colour bar.

    Reference:
        You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017.

    >>> row = {"step": 1, "layers": {"fc6/bias": {"trust_ratio": 0.01}}}
    >>> trust_ratio_figure([row]).axes[0].get_title(loc="left")
    'bias'
    """
    history = logarithm(layer_history(layers, "trust_ratio"))
    if not history.name:
        figure, axes = new_axes(7.4, 1.6, x_label="", y_label="")
        say_empty(axes, "No trust ratio was logged.")
        return figure
    panels, edges = by_kind(history), step_edges(history.step)
    heights = _panel_heights([len(panel.name) for panel in panels])
    figure = new_figure(7.4, 1.1 + sum(heights) + 0.3 * len(panels))
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=heights
    )
    low, high = colour_limits(history.value)
    for axes, panel, height in zip(grid[:, 0], panels, heights, strict=True):
        mesh = _draw_panel(axes, panel, edges, (low, high))
        _label_rows(axes, panel, height)
    whole_steps(axes, [])
    axes.set_xlabel("step", color=MUTED, fontsize=LABEL_SIZE)
    _colour_bar(figure, mesh, history.value, (low, high))
    return figure


def logarithm(history: LayerHistory) -> LayerHistory:
    """Return log10 of positive values in at most 240 columns, medians of their steps.

    >>> import numpy as np
    >>> ratios = LayerHistory(("w",), np.array([1, 2]), np.array([[0.01, 0.0]]))
    >>> print(logarithm(ratios).value)
    [[-2. nan]]
    """
    positive = history.value > 0
    value = np.log10(np.where(positive, history.value, 1.0))
    masked = np.ma.masked_array(value, mask=~positive)
    columns = parts(len(history.step), MOST_COLUMNS)
    if not columns or not history.name:
        return LayerHistory(history.name, history.step, value)
    medians = [np.ma.median(masked[:, part], axis=1).filled(np.nan) for part in columns]
    steps = np.array([history.step[part[0]] for part in columns])
    return LayerHistory(history.name, steps, np.stack(medians, axis=1))


def by_kind(history: LayerHistory) -> list[Panel]:
    """Return the layers gathered by the last part of their paths, largest kind first.

    More than four kinds are not worth a panel each: the smallest join under "other",
    with their full paths.

    >>> import numpy as np
    >>> names = ("conv1/bias", "conv1/kernel", "conv2/kernel")
    >>> panels = by_kind(LayerHistory(names, np.array([1]), np.zeros((3, 1))))
    >>> [(panel.kind, panel.name) for panel in panels]
    [('kernel', ('conv1', 'conv2')), ('bias', ('conv1',))]
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(history.name):
        rows.setdefault(name.rpartition("/")[2], []).append(row)
    ordered = sorted(rows.items(), key=lambda item: -len(item[1]))
    own = ordered if len(ordered) <= MOST_KINDS else ordered[: MOST_KINDS - 1]
    panels = [
        Panel(kind, _without_kind(history, members), history.value[members])
        for kind, members in own
    ]
    rest = sorted(row for _, members in ordered[len(own) :] for row in members)
    if rest:
        names = tuple(history.name[row] for row in rest)
        panels.append(Panel("other", names, history.value[rest]))
    return panels


def step_edges(steps: np.ndarray) -> np.ndarray:
    """Return the edges of the columns, half-way between neighbouring steps.

    >>> import numpy as np
    >>> print(step_edges(np.array([1, 2, 4])))
    [0.5 1.5 3.  5. ]
    """
    if len(steps) == 1:
        return steps[0] + np.array([-0.5, 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    first, last = 2 * steps[0] - middle[0], 2 * steps[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def colour_limits(value: np.ndarray) -> tuple[float, float]:
    """Return the 2nd and 98th percentile of finite values, at least 0.1 apart.

    >>> import numpy as np
    >>> print(colour_limits(np.array([[-2.0, np.nan]])))
    (-2.05, -1.95)
    """
    finite = value[np.isfinite(value)]
    if not finite.size:
        return -1.0, 0.0
    low, high = (float(limit) for limit in np.percentile(finite, [2, 98]))
    if high - low >= 0.1:
        return low, high
    middle = (low + high) / 2
    return middle - 0.05, middle + 0.05


def _without_kind(history: LayerHistory, rows: list[int]) -> tuple[str, ...]:
    """Return paths less their last part, which the panel's title says for all."""
    names = (history.name[row] for row in rows)
    return tuple(name.rpartition("/")[0] or name for name in names)


def _panel_heights(counts: list[int]) -> list[float]:
    """Return inches for each panel: in proportion to its rows, but never a sliver."""
    share = min(1.0, TALLEST / (ROW_HEIGHT * sum(counts)))
    return [max(0.35, ROW_HEIGHT * share * count) for count in counts]


def _draw_panel(
    axes: "Axes", panel: Panel, edges: np.ndarray, limits: tuple[float, float]
) -> "ScalarMappable":
    from matplotlib import colormaps

    dress(axes)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(panel.name) + 1) - 0.5,
        np.ma.masked_invalid(panel.value),
        cmap=colormaps["viridis"].with_extremes(bad=MISSING),
        vmin=limits[0],
        vmax=limits[1],
        antialiased=False,
        rasterized=True,
    )
    axes.set_ylim(len(panel.name) - 0.5, -0.5)
    axes.set_title(panel.kind, loc="left", color=INK, fontsize=LABEL_SIZE, pad=4)
    return mesh


def _label_rows(axes: "Axes", panel: Panel, height: float) -> None:
    """Name as many rows as there is room for, evenly spaced."""
    stride = max(1, math.ceil(len(panel.name) * 0.15 / height))
    rows = range(0, len(panel.name), stride)
    axes.set_yticks(rows, [_shorten(panel.name[row]) for row in rows])
    axes.tick_params(axis="y", labelsize=SMALL_SIZE)


def _shorten(name: str, most: int = 32) -> str:
    return name if len(name) <= most else "\N{HORIZONTAL ELLIPSIS}" + name[1 - most :]


def _colour_bar(
    figure: "Figure",
    mesh: "ScalarMappable",
    value: np.ndarray,
    limits: tuple[float, float],
) -> None:
    finite = value[np.isfinite(value)]
    below = bool((finite < limits[0]).any())
    above = bool((finite > limits[1]).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = figure.colorbar(
        mesh,
        ax=figure.axes,
        extend=extend.get((below, above), "neither"),
        location="top",
        shrink=0.45,
        aspect=34,
        anchor=(1.0, 0.0),
    )
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=TICK_SIZE, labelcolor=MUTED)
    bar.set_label("log10 trust ratio", color=MUTED, fontsize=LABEL_SIZE)
