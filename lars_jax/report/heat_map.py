"""The trust ratio of every layer over the course of a run (Figure 2 of the paper)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.rows import LayerTable, Row, layer_table
from lars_jax.report.scale import scale_ticks, tick_label
from lars_jax.report.style import TEXT_SIZE, light, new_axes, step_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WIDTH = 9.6
"""Inches; fills a page, and keeps its size where a phone scrolls it sideways."""

ROW_HEIGHT = 0.165
"""Inches that a line of text needs."""

MOST_LABELS = 48
"""Layers up to which each has its line; of more, evenly spaced ones are named."""

COLUMNS = 256
"""Most columns of the map; a step between two records is shown as the nearer one."""

WEIGHTS = ("kernel", "weight", "w", "embedding")
"""Names of the leaves that a layer is known by; they come first where kinds part."""


def trust_ratio_figure(layers: Iterable[Row]) -> "Figure":
    """Draw log10 of the trust ratio of each layer (rows) over the steps (columns).

    More than 48 layers are sorted by kind, kernels first and biases and scales after,
    because a kind has much the same ratio all through a network: what departs from
    its kind is then seen at once. Every layer keeps a row of the picture; evenly
    spaced ones are named. Ratios that are missing, zero or not finite stay blank.
    Layers that an optimizer excludes have a ratio of one throughout and are left out.

    Args:
        layers: rows with `step` and `layers`, a mapping from the parameter's path to a
            mapping that may have `trust_ratio`, dimensionless.

    Raises:
        InputError: no layer has a trust ratio above zero that is not always one.

    Reference:
        Algorithm 1 and Figure 2 of https://arxiv.org/abs/1708.03888

    >>> layers = [{"step": 1, "layers": {"fc/kernel": {"trust_ratio": 0.001}}}]
    >>> trust_ratio_figure(layers).axes[0].images[0].get_array()[0].round(6).tolist()
    [-3.0]
    """
    table = layer_table(layers, "trust_ratio")
    rows = adapted_rows(table)
    if not len(rows):
        raise InputError(
            "a trust-ratio figure needs a layer with a trust_ratio above zero, not "
            "always one; got none: record layers of an optimizer that adapts them"
        )
    kept = tuple(table.names[row] for row in rows)
    names, logarithm = _by_kind(kept, _log10(table.value[rows]))
    height = ROW_HEIGHT * min(len(names), MOST_LABELS) + 1.0
    figure, axes = new_axes(WIDTH, height, "Trust ratio of each layer")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    image = _draw_map(axes, table.step, logarithm)
    _separate_kinds(axes, names)
    labelled = _labelled_rows(names)
    axes.set_yticks(labelled, [names[row] for row in labelled])
    _draw_scale(axes, image)
    return figure


def adapted_rows(table: LayerTable) -> np.ndarray:
    """Return the rows of the layers that are adapted: whose ratio is not always one.

    A layer whose ratios are broken is one of them, for it is to be seen; where no
    layer has a positive ratio other than one there are none at all.

    >>> rows = [{"step": 1, "layers": {"w": {"trust_ratio": 0.5}, "b": {
    ...     "trust_ratio": 1.0}}}]
    >>> adapted_rows(layer_table(rows, "trust_ratio"))
    array([1])
    """
    value = table.value
    usable = np.isfinite(value) & (value > 0) & (value != 1)
    return np.flatnonzero((value != 1).any(axis=1) & usable.any())


def _log10(value: np.ndarray) -> np.ndarray:
    usable = np.isfinite(value) & (value > 0)
    return np.log10(value, out=np.full_like(value, np.nan), where=usable)


def _by_kind(
    names: tuple[str, ...], value: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    if len(names) <= MOST_LABELS:
        return names, value
    kinds = [_kind(name) for name in names]
    order = sorted(
        range(len(names)), key=lambda row: (kinds[row] not in WEIGHTS, kinds[row])
    )
    return tuple(names[row] for row in order), value[order]


def _kind(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _kind_starts(names: tuple[str, ...]) -> list[int]:
    if len(names) <= MOST_LABELS:
        return [0]
    kinds = [_kind(name) for name in names]
    return [0] + [row for row in range(1, len(kinds)) if kinds[row] != kinds[row - 1]]


def _labelled_rows(names: tuple[str, ...]) -> list[int]:
    """Return rows to name: the first of each kind, then as many as find room."""
    stride = -(-len(names) // MOST_LABELS)
    starts = _kind_starts(names)
    rows = []
    for start, end in zip(starts, [*starts[1:], len(names) + stride], strict=True):
        # The last label of a kind must leave room for the first of the next.
        rows += range(start, min(end - stride + 1, len(names)), stride) or [start]
    return rows


def _draw_map(axes: "Axes", step: np.ndarray, logarithm: np.ndarray) -> "AxesImage":
    first, last = int(step[0]), int(step[-1])
    count = min(COLUMNS, last - first + 1)
    centres = np.linspace(first, last, count)
    nearest = np.searchsorted((step[1:] + step[:-1]) / 2, centres)
    half = (last - first) / (2 * (count - 1)) if count > 1 else 0.5
    low, high = np.nanmin(logarithm), np.nanmax(logarithm)
    # One value alone has no scale: give it a decade to lie in.
    margin = 0.5 if high - low < 1e-6 else 0.0
    image = axes.imshow(
        np.ma.masked_invalid(logarithm[:, nearest]),
        extent=(first - half, last + half, len(logarithm) - 0.5, -0.5),
        aspect="auto",
        # The screen enlarges the pixels as they are; nothing is blended.
        interpolation="none",
        cmap="cividis",
        vmin=low - margin,
        vmax=high + margin,
    )
    step_axis(axes, first, last)
    return image


def _separate_kinds(axes: "Axes", names: tuple[str, ...]) -> None:
    for start in _kind_starts(names)[1:]:
        axes.axhline(start - 0.5, color=light("paper"), linewidth=2.0)


def _draw_scale(axes: "Axes", image: "AxesImage") -> None:
    figure = axes.get_figure()
    assert figure is not None
    ticks = scale_ticks(*image.get_clim())
    scale = figure.colorbar(image, ax=axes, aspect=30, fraction=0.04, pad=0.015)
    scale.set_ticks(ticks, labels=[*map(tick_label, ticks)])
    scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    scale.ax.tick_params(length=0, labelsize=TEXT_SIZE, labelcolor=light("muted"))
