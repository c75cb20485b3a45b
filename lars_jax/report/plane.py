"""What generators make of a distribution in the plane, method by method."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.style import TEXT_SIZE, light, point_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, TALLEST = 7.0, 9.0
"""Inches that a figure does not exceed."""

LEFT, TOP, FOOT, GAP = 0.3, 0.3, 0.34, 0.07
"""Inches for the names of the rows, the steps, the key, and between two panels."""

LARGEST, LEAST_WIDTH = 3.9, 4.3
"""Inches: the side of a panel at most, and what the key needs."""

DOTS = 150
"""Per inch, of points inside a vector drawing: thousands of paths would weigh more."""

TRUE = "#7f8c99"
"""Colour of true samples; translucent, it recedes on paper and on a dark screen."""

KEYED = 8
"""Generators whose colours the key shows; more would not be told apart in it."""


class Panel(NamedTuple):
    """What a method generated at one step.

    Attributes:
        step: of training.
        samples: float [N, 2].
        generator: int [N], number of the generator of each sample, from 0.
    """

    step: int
    samples: np.ndarray
    generator: np.ndarray


def evolution_figure(
    rows: Mapping[str, Sequence[Panel]], real: np.ndarray, *, limit: float = 3.0
) -> "Figure":
    """Draw generated over true samples: a row for each method, a column for each step.

    A generator has the same colour in every panel. Where samples of several lie upon
    each other, chance decides which is seen, not the order of the generators. A step
    that a method lacks stays blank; samples beyond the limit or not finite are left
    out.

    Args:
        rows: panels of each method, by its name, in any order of steps.
        real: float [R, 2], true samples, drawn behind those of every panel.
        limit: half the side of the square that is shown.

    Raises:
        InputError: no panels, two panels of one step, arrays that are no points of the
            plane or do not belong together, or a limit that is not positive.

    Reference:
        Figure 2c of https://arxiv.org/abs/1708.02556

    >>> panel = Panel(5000, np.ones((2, 2)), np.array([0, 1]))
    >>> figure = evolution_figure({"MGAN": [panel]}, np.zeros((4, 2)))
    >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
    ('5,000', 'MGAN')
    """
    real = _points(real, "true samples", "R")
    if not limit > 0:
        raise InputError(f"limit must be above zero; got {limit:g}: widen the square")
    grid = {name: _by_step(panels, name) for name, panels in rows.items()}
    steps = sorted({step for panels in grid.values() for step in panels})
    if not steps:
        raise InputError(
            f"an evolution needs panels; got none in {len(rows)} rows: generate samples"
        )
    figure, side = _new_figure(len(grid), len(steps))
    for row, (name, panels) in enumerate(grid.items()):
        for column, step in enumerate(steps):
            axes = _new_panel(figure, row, column, side, limit)
            if row == 0:
                axes.set_title(f"{step:,}", **_words("muted"), pad=5)
            if column == 0:
                axes.set_ylabel(name, **_words("ink"), labelpad=6, fontweight="bold")
            if step in panels:
                _scatter(axes, real, panels[step])
    height = figure.get_figheight()
    figure.text(0.0, 1 - (TOP - 5 / 72) / height, " step", **_words("muted"))
    made = [panel for panels in grid.values() for panel in panels.values()]
    _draw_key(figure, made)
    return figure


def _points(value: np.ndarray, what: str, letter: str) -> np.ndarray:
    points = np.asarray(value, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(
            f"{what} must be points of the plane, [{letter}, 2]; got shape "
            f"{points.shape}: one row a point"
        )
    return points


def _by_step(panels: Iterable[Panel], name: str) -> dict[int, Panel]:
    found: dict[int, Panel] = {}
    for panel in panels:
        step, where = int(panel.step), f"of {name} at step {int(panel.step):,}"
        samples = _points(panel.samples, f"samples {where}", "N")
        generator = np.asarray(panel.generator)
        whole = np.issubdtype(generator.dtype, np.integer)
        if generator.shape != (len(samples),) or not whole or (generator < 0).any():
            raise InputError(
                f"generators {where} must be whole numbers from 0, shape "
                f"({len(samples)},); got {generator.dtype} {generator.shape}: give the "
                "number of the generator of each sample"
            )
        if step in found:
            raise InputError(
                f"a row must have one panel a step; got two {where}: keep one"
            )
        found[step] = Panel(step, samples, generator)
    return found


def _new_figure(rows: int, columns: int) -> "tuple[Figure, float]":
    """Return an empty figure and the side of its panels in inches."""
    from matplotlib.figure import Figure

    side = min(
        LARGEST,
        (WIDTH - LEFT - GAP * columns) / columns,
        (TALLEST - TOP - FOOT - GAP * rows) / rows,
    )
    width = max(LEAST_WIDTH, LEFT + columns * (side + GAP))
    height = TOP + rows * (side + GAP) - GAP + FOOT
    figure = Figure(figsize=(width, height), dpi=DOTS)
    figure.set_facecolor(light("paper"))
    return figure, side


def _new_panel(
    figure: "Figure", row: int, column: int, side: float, limit: float
) -> "Axes":
    width, height = figure.get_size_inches()
    left = LEFT + column * (side + GAP)
    bottom = height - TOP - row * (side + GAP) - side
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.set_facecolor(light("paper"))
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
    axes.spines[:].set(color=light("rule"), linewidth=0.8)
    return axes


def _scatter(axes: "Axes", real: np.ndarray, panel: Panel) -> None:
    dots = {"s": 2.0, "linewidths": 0, "rasterized": True}
    axes.scatter(real[:, 0], real[:, 1], color=TRUE, alpha=0.45, **dots)
    order = np.random.default_rng(0).permutation(len(panel.samples))
    x, y = panel.samples[order].T
    colours = [point_colour(number) for number in panel.generator[order].tolist()]
    axes.scatter(x, y, color=colours, **dots)


def _draw_key(figure: "Figure", panels: Sequence[Panel]) -> None:
    """Say under the panels what the colours mean, in axes whose unit is the inch."""
    width, height = figure.get_size_inches()
    foot = figure.add_axes((0, 0, 1, FOOT / height))
    foot.set(xlim=(0, width), ylim=(0, FOOT))
    foot.set_axis_off()
    last = max((int(p.generator.max()) for p in panels if len(p.generator)), default=0)
    shown = min(last + 1, KEYED)
    label = "samples of each generator" if last else "generated samples"
    left = LEFT + 0.06
    for colours, name in (
        ([TRUE], "true samples"),
        ([point_colour(number) for number in range(shown)], label),
    ):
        places = left + 0.1 * np.arange(len(colours))
        middle = np.full(len(colours), FOOT / 2 - 0.03)
        foot.scatter(places, middle, s=16.0, color=colours, linewidths=0)
        foot.text(
            places[-1] + 0.1, middle[0], name, va="center_baseline", **_words("muted")
        )
        left = places[-1] + 1.2


def _words(colour: str) -> dict:
    return {"fontsize": TEXT_SIZE, "color": light(colour)}
