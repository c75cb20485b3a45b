"""Shares of each row among the columns: confusions, and what each generator makes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.style import TEXT_SIZE, label_axis, new_axes, scale_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERED = 12
"""Rows and columns up to which each cell has its number."""

CELL, SMALL_CELL = 0.36, 0.16
"""Inches of a cell with a number in it, and of one without."""

LETTER = 0.1
"""Inches of a letter of the title, which may be wider than the map."""

DARK, BRIGHT = "#0b1117", "#fbfcfd"
"""Colours of the numbers; none of the palette, which would change with the screen."""


def confusion_figure(
    matrix: np.ndarray,
    *,
    title: str,
    row_label: str,
    column_label: str,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
) -> "Figure":
    """Draw how each row is shared among the columns, as a heat map.

    Up to twelve rows and columns, the cells have their numbers in percent. Shades and
    numbers are the same on a dark screen, where a map that turned over would be read
    the wrong way round.

    Args:
        matrix: float [R, C], from 0 to 1; each row sums to one. A row that has
            nothing to share, such as a generator without samples, is NaN throughout
            and stays blank.
        title: what the figure shows.
        row_label: what a row is, such as `generator`.
        column_label: what a column is, such as `class`.
        row_names: R names; None: numbers from 0.
        column_names: C names; None: numbers from 0.

    Raises:
        InputError: a matrix that is none, rows that are no shares, or names that are
            not one each.

    >>> figure = confusion_figure(np.array([[0.75, 0.25]]), title="Specialisation",
    ...     row_label="generator", column_label="class", column_names=["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['75', '25']
    """
    matrix = _shares(matrix)
    rows, columns = matrix.shape
    row_names = _names(row_names, rows, "row")
    column_names = _names(column_names, columns, "column")
    numbered = max(rows, columns) <= NUMBERED
    cell = CELL if numbered else SMALL_CELL
    longest = max(map(len, column_names))
    turned = longest > 2
    width = max(cell * columns + 1.05, LETTER * len(title)) + 0.5
    width += 0.08 * max(map(len, row_names))
    height = cell * rows + 0.9 + (0.055 * longest if turned else 0)
    figure, axes = new_axes(width, height, title)
    axes.set_anchor("W")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    image = axes.imshow(
        np.ma.masked_invalid(matrix), "Blues", interpolation="none", vmin=0.0, vmax=1.0
    )
    if numbered:
        _write_numbers(axes, matrix)
    stride = 1 if numbered else -(-max(rows, columns) // 25)
    axes.set_yticks(range(0, rows, stride), row_names[::stride])
    axes.set_xticks(range(0, columns, stride), column_names[::stride])
    if turned:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    label_axis(axes, "x", column_label)
    label_axis(axes, "y", row_label)
    # In units of the map, so that the scale is as high as it and equally far from all.
    part = 0.4 / (columns if numbered else columns // 2)
    bar = scale_beside(image, cax=axes.inset_axes((1 + part, 0.0, part, 1.0)))
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    return figure


def _shares(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(
            f"a matrix of shares must be [R, C]; got shape {matrix.shape}: one row for "
            "each whose shares are told"
        )
    kept = matrix[~np.isnan(matrix).all(axis=1)]
    # Written so that NaN and infinity are refused too.
    if not ((kept >= 0).all() and (np.abs(kept.sum(axis=1) - 1) < 1e-3).all()):
        worst = kept[np.argmax(~(np.abs(kept.sum(axis=1) - 1) < 1e-3))]
        raise InputError(
            "rows of a matrix of shares must be 0 or more and sum to one; got a row "
            f"that sums to {worst.sum():g}: divide each by its sum"
        )
    return matrix


def _names(names: Sequence[str] | None, count: int, what: str) -> list[str]:
    if names is None:
        return [str(number) for number in range(count)]
    if len(names) != count:
        raise InputError(
            f"{what}_names must name each of {count} {what}s; got {len(names)}: give "
            "one each, or None"
        )
    return list(names)


def _write_numbers(axes: "Axes", matrix: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(matrix):
        if np.isnan(share):
            continue
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center_baseline",
            fontsize=TEXT_SIZE,
            color=BRIGHT if share > 0.7 else DARK,
            # What is none is to be known, not to be noticed.
            alpha=0.4 if share < 0.005 else 1.0,
        )
