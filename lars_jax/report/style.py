"""One palette and one kind of axes for everything that is drawn.

Figures are drawn in the light colours; the page replaces each of them by a variable of
its style sheet, so that the same drawing follows the reader's light or dark scheme.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Colour(NamedTuple):
    """A colour on white paper and its counterpart on a dark screen, as #rrggbb."""

    light: str
    dark: str


PALETTE = {
    "paper": Colour("#ffffff", "#11161c"),
    "panel": Colour("#f4f6f8", "#1a2129"),
    "ink": Colour("#17212b", "#e4e9ee"),
    "muted": Colour("#566573", "#9aa8b5"),
    "rule": Colour("#d9dfe5", "#303a45"),
    "blue": Colour("#0068ad", "#64b5f2"),
    "orange": Colour("#b84a00", "#ff9e5e"),
    "green": Colour("#00785a", "#55cfa8"),
    "violet": Colour("#83499b", "#d3a0e8"),
    "red": Colour("#7d1f2f", "#f7768e"),
}
"""Every colour by its use; the hues keep apart for the colour-blind (after Okabe and
Ito), and each stands out from the paper by the contrast that WCAG 2.1 asks for."""

SERIES = ("blue", "orange", "green", "violet", "red")
"""Colours of the lines of a figure, in order."""

POINTS = (
    *("#2b7fc4", "#c9621c", "#189060", "#9c1878", "#6c5400", "#9c78fc", "#603cb4"),
    *("#f06090", "#906090", "#9090c0", "#0c6048", "#3c5484", "#b4903c", "#b4183c"),
    *("#6c60d8", "#3c9c9c", "#b454b4", "#d84854", "#9c6030", "#904860", "#789c6c"),
    *("#6c549c", "#3c54cc", "#cc78a8", "#b46c78", "#6c84d8", "#f06c0c", "#9048b4"),
    *("#b44878", "#3c9cd8", "#a83000", "#007884", "#607848", "#18a884", "#48a848"),
    *("#4878f0", "#c0480c", "#6078a8", "#0090f0", "#783c9c", "#844830", "#9c78b4"),
    *("#d87878", "#903060", "#78843c", "#f06060", "#786c00", "#846cd8", "#5460c0"),
    "#903c90",
)
"""Colours of points by the number of what made them. Each after the third is the one
farthest from all before it, to the eye that sees all colours and to the two that are
blind to red or to green; all stand out from paper and from dark screen, and so need no
counterpart there."""

GRADATION = ("#2b7fc4", "#9b64b4", "#c9621c")
"""Colours of what is counted, from the first to the last. They are equally light, half
way between paper and dark screen, and so need no counterpart there."""

TEXT_SIZE = 9.0
"""Points; figures are drawn narrow so that this survives the width of a phone."""


def light(name: str) -> str:
    """Return the colour of the palette that figures are drawn in.

    >>> light("paper")
    '#ffffff'
    """
    return PALETTE[name].light


def point_colour(number: int) -> str:
    """Return the colour of points that one of many made, as #rrggbb.

    Args:
        number: of the maker, from 0; after the fiftieth the colours come again.

    >>> point_colour(0), point_colour(50), point_colour(1)
    ('#2b7fc4', '#2b7fc4', '#c9621c')
    """
    return POINTS[number % len(POINTS)]


def gradation(place: float) -> str:
    """Return a colour between the first, at 0, and the last, at 1, as #rrggbb.

    >>> gradation(0.0), gradation(0.5)
    ('#2b7fc4', '#9b64b4')
    """
    parts = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in GRADATION]
    left = min(int(place * (len(parts) - 1)), len(parts) - 2)
    share = place * (len(parts) - 1) - left
    mixed = [
        round((1 - share) * a + share * b)
        for a, b in zip(parts[left], parts[left + 1], strict=True)
    ]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def new_axes(
    width: float, height: float, title: str, pad: float = 9.0
) -> "tuple[Figure, Axes]":
    """Return an empty figure in the house style.

    The style is set on the artists themselves: matplotlib reads its defaults anew when
    a figure is saved, which may be long after and elsewhere.

    Args:
        width: of the figure, in inches.
        height: of the figure, in inches.
        title: what the axes show, set above them on the left.
        pad: points between the two.

    >>> figure, axes = new_axes(4.0, 2.0, "Loss")
    >>> axes.get_title(loc="left")
    'Loss'
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.06)
    figure = Figure(figsize=(width, height), layout=layout)
    figure.set_facecolor(light("paper"))
    axes = figure.add_subplot()
    axes.set_facecolor(light("paper"))
    axes.set_title(
        title,
        loc="left",
        fontsize=TEXT_SIZE + 1,
        fontweight="bold",
        color=light("ink"),
        pad=pad,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(light("rule"))
    axes.tick_params(
        which="both", length=0, labelsize=TEXT_SIZE, labelcolor=light("muted"), pad=5
    )
    axes.grid(axis="y", color=light("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def legend_above(axes: "Axes", handles: "Sequence[Artist] | None" = None) -> None:
    """Put the legend over the right end of the axes, where it hides no data.

    Args:
        axes: that get a legend.
        handles: artists to show with their labels; None: all of the axes that have one.
    """
    if handles is None:
        handles, _ = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.01, 1.01),
        ncols=4,
        frameon=False,
        fontsize=TEXT_SIZE,
        labelcolor=light("muted"),
        handlelength=1.3,
        handletextpad=0.5,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
    # It has the room of the title, so that axes with and without one line up.
    legend.set_in_layout(False)


def step_axis(axes: "Axes", first: int, last: int) -> None:
    """Mark whole steps on the x axis; a single step is marked once."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    several = MaxNLocator(nbins=5, integer=True)
    axes.xaxis.set_major_locator(several if last > first else FixedLocator([first]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    label_axis(axes, "x", "step")


def label_axis(axes: "Axes", axis: str, text: str) -> None:
    """Name the x or the y axis."""
    axes.set(**{f"{axis}label": text})
    getattr(axes, f"{axis}axis").label.set(fontsize=TEXT_SIZE, color=light("muted"))
