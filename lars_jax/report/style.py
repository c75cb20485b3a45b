"""One look for every figure: colours, type sizes, and the little that frames data.

Figures are made without pyplot, so drawing leaves no state behind and needs no screen.
Matplotlib is imported where it is used: it takes a second that training need not pay.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1d2129"
MUTED = "#5d6675"
RULE = "#dfe2e7"
MISSING = "#c4c8cf"
SERIES = ("#1f5fa8", "#c2571a", "#2a8260", "#86559f")
"""Told apart with any colour vision, and 4.5:1 or better against white."""

ALERT = "#b3261e"
MARKERS = ("o", "s", "D", "^")

LABEL_SIZE = 9.5
TICK_SIZE = 8.5
SMALL_SIZE = 7.0


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches, white, laid out by constraint.

    >>> print(new_figure(5.0, 3.0).get_size_inches())
    [5. 3.]
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def new_axes(
    width: float, height: float, *, x_label: str, y_label: str
) -> tuple["Figure", "Axes"]:
    """Return a figure with one dressed set of axes."""
    figure = new_figure(width, height)
    axes = figure.subplots()
    dress(axes)
    axes.set_xlabel(x_label, color=MUTED, fontsize=LABEL_SIZE)
    axes.set_ylabel(y_label, color=MUTED, fontsize=LABEL_SIZE)
    return figure, axes


def dress(axes: "Axes") -> None:
    """Leave of the frame what helps to read values: a base line and a faint grid."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(
        which="both", length=0, pad=5, labelsize=TICK_SIZE, labelcolor=MUTED
    )


def whole_steps(axes: "Axes", steps: Sequence[int]) -> None:
    """Put ticks of the step axis at whole numbers, and give one lone step a width."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    if len(steps) and min(steps) == max(steps):
        axes.set_xlim(steps[0] - 1, steps[0] + 1)


def legend(axes: "Axes") -> None:
    """Name the lines above the plot, where nothing can be hidden by the names."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(handles),
        frameon=False,
        fontsize=LABEL_SIZE,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.6,
        borderaxespad=0.2,
    )


def say_empty(axes: "Axes", sentence: str) -> None:
    """Say in the middle of empty axes why there is nothing to see."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("")
    axes.set_ylabel("")
    axes.spines["bottom"].set_visible(False)
    axes.text(
        0.5,
        0.5,
        sentence,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=LABEL_SIZE,
    )
