"""One palette and one kind of axes for everything that is drawn.

Figures are drawn in the light colours; a page replaces each of them by a variable of
its style sheet, so that the same drawing follows the reader's light or dark scheme.
"""

import html
import io
import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator


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

MARKERS = ("o", "s", "^", "D")
"""A second mark of identity beside the colour."""

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

LEGEND_LINE = 14.0
"""Points that a line of the legend takes."""


def light(name: str) -> str:
    """Return the colour of the palette that figures are drawn in.

    >>> light("paper")
    '#ffffff'
    """
    return PALETTE[name].light


def identity(number: int) -> dict[str, Any]:
    """Return colour and marker of the line of one of several methods, from 0.

    >>> identity(0)
    {'color': '#0068ad', 'marker': 'o'}
    """
    return {
        "color": light(SERIES[number % len(SERIES)]),
        "marker": MARKERS[number % len(MARKERS)],
    }


def point_colour(number: int) -> str:
    """Return the colour of points that one of many made, as #rrggbb.

    Args:
        number: of the maker, from 0; after the fiftieth the colours come again.

    >>> point_colour(0), point_colour(50), point_colour(1)
    ('#2b7fc4', '#2b7fc4', '#c9621c')
    """
    return POINTS[number % len(POINTS)]


def gradation(count: int) -> list[str]:
    """Return colours of what is counted, from the first to the last, as #rrggbb.

    >>> gradation(2)
    ['#2b7fc4', '#c9621c']
    """
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    between = LinearSegmentedColormap.from_list("counted", GRADATION)
    return [to_hex(colour) for colour in between(np.linspace(0, 1, count))]


def style() -> AbstractContextManager[None]:
    """Return a context in which text and axes are made in the common style."""
    from matplotlib import rc_context

    return rc_context(
        {
            "figure.facecolor": light("paper"),
            "axes.facecolor": light("paper"),
            "axes.edgecolor": light("rule"),
            "axes.labelcolor": light("muted"),
            "axes.labelsize": TEXT_SIZE,
            "axes.titlecolor": light("ink"),
            "axes.titlesize": TEXT_SIZE + 1,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "font.size": TEXT_SIZE,
            "text.color": light("muted"),
            "legend.fontsize": TEXT_SIZE,
            "legend.frameon": False,
        }
    )


def new_axes(width: float, height: float, title: str) -> "tuple[Figure, Axes]":
    """Return an empty figure in the common style.

    Args:
        width: of the figure, in inches.
        height: of the figure, in inches.
        title: what the axes show, set above them on the left.

    >>> figure, axes = new_axes(4.0, 2.0, "Loss")
    >>> axes.get_title(loc="left")
    'Loss'
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.06)
    with style():
        figure = Figure(figsize=(width, height), layout=layout)
        axes = figure.add_subplot()
        axes.set_title(title, pad=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=light("rule"), linewidth=0.7)
    _set_ticks(axes)
    return figure, axes


def _set_ticks(axes: "Axes") -> None:
    # No part of `style`: ticks are made as late as the figure is saved.
    colour, size = light("muted"), TEXT_SIZE
    axes.tick_params(which="both", length=0, pad=5, labelsize=size, labelcolor=colour)


def legend_above(axes: "Axes", least: int = 0) -> None:
    """Put a legend of all that has a label between the title and the axes.

    It gets lines of its own, and the figure is higher by them, so that it hides no
    data, however long the names.

    Args:
        axes: with a title.
        least: lines that are kept free at least, so that axes with and without a
            legend stand level.
    """
    handles, names = axes.get_legend_handles_labels()
    # As many as stand abreast in a narrow figure.
    columns = 3 if max(map(len, names), default=0) <= 13 else 2
    lines = max(-(-len(names) // columns), least)
    figure: Any = axes.get_figure()
    figure.set_figheight(figure.get_figheight() + lines * LEGEND_LINE / 72)
    with style():
        axes.set_title(axes.get_title(loc="left"), pad=9 + LEGEND_LINE * lines)
        legend = axes.legend(
            handles,
            names,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=columns,
            handlelength=1.6,
            handletextpad=0.5,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
    # It takes the room of the title and is to ask for none of its own.
    legend.set_in_layout(False)


def step_axis(axes: "Axes", first: int, last: int) -> None:
    """Mark whole steps on the x axis; a single step is marked once."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    several = MaxNLocator(nbins=5, integer=True)
    axes.xaxis.set_major_locator(several if last > first else FixedLocator([first]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")


def log_axis(axes: "Axes") -> None:
    """Make the y axis of what was drawn logarithmic, marked with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(log_locator(*axes.get_ylim()))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def log_locator(low: float, high: float) -> "Locator":
    """Return where to mark a logarithmic scale: at powers of ten, or 1, 2, 5 of each.

    What spans less than a factor of five is marked as on a linear scale.

    >>> [tick for tick in log_locator(3, 30).tick_values(3, 30) if 3 <= tick <= 30]
    [np.float64(5.0), np.float64(10.0), np.float64(20.0)]
    """
    from matplotlib.ticker import AutoLocator, LogLocator

    if high < 5 * low:
        return AutoLocator()
    digits = (1.0,) if high >= 100 * low else (1.0, 2.0, 5.0)
    return LogLocator(subs=digits, numticks=8)


def scale_beside(image: "ScalarMappable", **options: Any) -> "Colorbar":
    """Draw the scale of the colours of an image, by options of `Figure.colorbar`."""
    figure: Any = getattr(image, "figure", None)
    bar = figure.colorbar(image, **options)
    bar.outline.set_visible(False)
    _set_ticks(bar.ax)
    return bar


def inline_svg(figure: "Figure", name: str, description: str) -> str:
    """Return a figure as an `<svg>` element that may stand in an HTML body.

    Text stays text, in the font of the page. Colours of the palette become variables
    of its style sheet. What only a file needs goes: prologue, metadata, namespaces.
    The same figure always gives the same element.

    Args:
        figure: drawn in the light colours of the palette.
        name: unique in the page; it keeps the identifiers of figures apart.
        description: read out where the figure cannot be seen.

    >>> inline_svg(new_axes(2.0, 1.0, "Loss")[0], "loss", "The loss")[:39]
    '<svg role="img" aria-label="The loss" w'
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    for use, colour in PALETTE.items():
        svg = svg.replace(colour.light, f"var(--{use})")
    label = html.escape(description)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()
