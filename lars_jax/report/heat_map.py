"""The trust ratio of every layer over the course of a run (Figure 2 of the paper)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.rows import LayerTable, Row, layer_table
from lars_jax.report.style import TEXT_SIZE, label_axis, light, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WIDTH = 7.6
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

    Args:
        layers: rows with `step` and `layers`, a mapping from the parameter's path to a
            mapping that may have `trust_ratio`, dimensionless.

    Raises:
        InputError: no row has a trust ratio above zero.

    Reference:
        Algorithm 1 and Figure 2 of https://arxiv.org/abs/1708.03888

    >>> layers = [{"step": 1, "layers": {"fc/kernel": {"trust_ratio": 0.001}}}]
    >>> trust_ratio_figure(layers).axes[0].images[0].get_array()[0].round(6).tolist()
    [-3.0]
    """
    table = layer_table(layers, "trust_ratio")
    names, logarithm = _by_kind(table.names, _log10(table.value))
    if not np.isfinite(logarithm).any():
        raise InputError(
            "a trust-ratio figure needs rows with a trust_ratio above zero; got none: "
            "record layers of an optimizer that adapts them"
        )
    height = ROW_HEIGHT * min(len(names), MOST_LABELS) + 1.0
    figure, axes = new_axes(WIDTH, height, "Trust ratio of each layer")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    image = _draw_map(axes, table.step, logarithm)
    _separate_kinds(axes, names)
    rows = _labelled_rows(names)
    axes.set_yticks(rows, [names[row] for row in rows])
    label_axis(axes, "x", "step")
    _draw_scale(axes, image)
    return figure


def has_trust_ratio(layers: Iterable[Row]) -> bool:
    """Return whether any ratio differs from one, which a plain update has throughout.

    >>> has_trust_ratio([{"step": 1, "layers": {"w": {"trust_ratio": 1.0}}}])
    False
    """
    value = layer_table(layers, "trust_ratio").value
    return bool(((value > 0) & (value != 1) & np.isfinite(value)).any())


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
    """Return rows to name: the first of each kind, then as many as there is room for."""
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
    _mark_steps(axes, first, last)
    return image


def _mark_steps(axes: "Axes", first: int, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_formatter("{x:,.0f}")
    if first == last:
        axes.set_xticks([first])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _separate_kinds(axes: "Axes", names: tuple[str, ...]) -> None:
    for start in _kind_starts(names)[1:]:
        axes.axhline(start - 0.5, color=light("paper"), linewidth=2.0)


def _draw_scale(axes: "Axes", image: "AxesImage") -> None:
    from matplotlib.ticker import MaxNLocator

    figure = axes.get_figure()
    assert figure is not None
    scale = figure.colorbar(image, ax=axes, aspect=30, fraction=0.04, pad=0.015)
    scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    scale.locator = MaxNLocator(nbins=6, steps=[1, 2, 5, 10])
    scale.formatter = _ratio
    scale.update_ticks()
    scale.ax.tick_params(length=0, labelsize=TEXT_SIZE, labelcolor=light("muted"))


def _ratio(logarithm: float, _: int) -> str:
    return f"{10.0**logarithm:.2g}"
