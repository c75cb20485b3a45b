"""A legend in lines of its own between the title and the axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lars_jax.report.style import TEXT_SIZE, light

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTER, HANDLE = 0.068, 0.42
"""Inches that a letter of the legend takes, and what stands beside the text."""

MARGIN = 0.4
"""Inches of a figure's width that the legend cannot use."""

LINE = 14.0
"""Points that a line of the legend takes."""


def legend_shape(names: Sequence[str], width: float) -> tuple[int, int]:
    """Return the most columns of names that fit side by side, and their lines.

    Args:
        names: one an entry; they fill one column after the other.
        width: of the figure, in inches.

    >>> legend_shape(["GAN", "Unrolled GAN", "MGAN"], 4.6)
    (3, 1)
    >>> legend_shape(["a name that is long", "another that is longer"], 3.0)
    (1, 2)
    """
    for columns in range(len(names), 1, -1):
        lines = -(-len(names) // columns)
        starts = range(0, len(names), lines)
        widths = [max(map(len, names[start : start + lines])) for start in starts]
        if LETTER * sum(widths) + HANDLE * len(widths) <= width - MARGIN:
            return len(widths), lines
    return 1, len(names)


def legend_below_title(axes: "Axes", columns: int) -> None:
    """Put the legend where the title has left room for its lines.

    Args:
        axes: with a title whose pad is greater by `LINE` for each line.
        columns: that the entries stand in.
    """
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=TEXT_SIZE,
        labelcolor=light("muted"),
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
    # It takes the room of the title and is to ask for none of its own.
    legend.set_in_layout(False)
