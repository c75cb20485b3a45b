"""A legend in lines of its own between the title and the axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lars_jax.report.style import TEXT_SIZE, light

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HANDLE = 0.43
"""Inches that an entry of the legend takes beside its text."""

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
    needed = [_width(name) + HANDLE for name in names]
    for columns in range(len(names), 1, -1):
        lines = -(-len(names) // columns)
        starts = range(0, len(names), lines)
        if sum(max(needed[s : s + lines]) for s in starts) <= width - MARGIN:
            return len(starts), lines
    return 1, len(names)


def _width(text: str) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=TEXT_SIZE)
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


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
