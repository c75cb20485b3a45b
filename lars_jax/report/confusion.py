"""Shares of each row among the columns: confusions, and what each generator makes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.images import check_names
from lars_jax.report.style import TEXT_SIZE, new_axes, scale_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 12  # Rows and columns up to which each cell has its number.
CELL, SMALL_CELL = 0.36, 0.16  # Inches of a cell with a number in it, and without.

# Colours of the numbers; none of the palette, which would change with the screen.
DARK, BRIGHT = "#0b1117", "#fbfcfd"


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
    matrix = np.asarray(matrix, np.float64)
    _check_shares(matrix)
    rows, columns = matrix.shape
    check_names("row_names", row_names, rows)
    check_names("column_names", column_names, columns)
    row_names = list(map(str, range(rows) if row_names is None else row_names))
    column_names = list(
        map(str, range(columns) if column_names is None else column_names)
    )
    numbered = max(rows, columns) <= NUMBERED
    cell = CELL if numbered else SMALL_CELL
    longest = max(map(len, column_names))
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    turned = turned if longest > 2 else {}
    # The title, a tenth of an inch a letter, may be wider than the map.
    width = max(cell * columns + 1.05, 0.1 * len(title)) + 0.5
    width += 0.08 * max(map(len, row_names))
    height = cell * rows + 0.9 + (0.055 * longest if turned else 0)
    figure, axes = new_axes(width, height, title)
    axes.set_anchor("W")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    image = axes.imshow(
        np.ma.masked_invalid(matrix), "Blues", interpolation="none", vmin=0.0, vmax=1.0
    )
    for (row, column), share in np.ndenumerate(matrix):
        if numbered and np.isfinite(share):
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
    stride = 1 if numbered else -(-max(rows, columns) // 25)
    axes.set_yticks(range(0, rows, stride), row_names[::stride])
    axes.set_xticks(range(0, columns, stride), column_names[::stride], **turned)
    axes.set(xlabel=column_label, ylabel=row_label)
    # In units of the map, so that the scale is as high as it and equally far from all.
    part = 0.4 / (columns if numbered else columns // 2)
    bar = scale_beside(image, cax=axes.inset_axes((1 + part, 0.0, part, 1.0)))
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    return figure


def _check_shares(matrix: np.ndarray) -> None:
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(
            f"a matrix of shares must be [R, C]; got shape {matrix.shape}: one row for "
            "each whose shares are told"
        )
    for row in matrix[~np.isnan(matrix).all(axis=1)]:
        # Written so that NaN and infinity are refused too.
        if not ((row >= 0).all() and abs(row.sum() - 1) < 1e-3):
            raise InputError(
                "rows of a matrix of shares must be 0 or more and sum to one; got a "
                f"row that sums to {row.sum():g}: divide each by its sum"
            )
