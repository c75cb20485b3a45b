"""What generators make of a distribution in the plane, method by method."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.style import TEXT_SIZE, light, point_colour, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.0, 9.0  # Inches that a figure does not exceed.
DOTS = 150  # Per inch, of points as pixels: thousands of paths would weigh more.
TRUE = "#7f8c99"  # Of true samples; translucent, it recedes on paper and on dark.
KEYED = 8  # Colours of generators in the key; more would not be told apart there.


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
    ('step 5,000', 'MGAN')
    """
    from matplotlib.figure import Figure

    real = _points(real, "true samples", "R")
    if not limit > 0:
        raise InputError(f"limit must be above zero; got {limit:g}: widen the square")
    grid = {name: _by_step(panels, name) for name, panels in rows.items()}
    steps = sorted({step for panels in grid.values() for step in panels})
    if not steps:
        raise InputError(
            f"an evolution needs panels; got none in {len(rows)} rows: generate samples"
        )
    side = min(3.9, (WIDTH - 0.4) / len(steps), (HEIGHT - 0.7) / len(grid))
    # The key needs some width.
    size = (max(4.3, 0.4 + side * len(steps)), 0.7 + side * len(grid))
    square = {"xlim": (-limit, limit), "ylim": (-limit, limit), "aspect": "equal"}
    square |= {"xticks": [], "yticks": []}
    with style():
        figure = Figure(figsize=size, dpi=DOTS, layout="compressed")
        axes = figure.subplots(len(grid), len(steps), squeeze=False, subplot_kw=square)
        for (name, panels), line in zip(grid.items(), axes, strict=True):
            line[0].set_ylabel(name, color=light("ink"), labelpad=6, fontweight="bold")
            for step, cell in zip(steps, line, strict=True):
                if step in panels:
                    _scatter(cell, real, panels[step])
        title = {"loc": "center", "color": light("muted"), "pad": 5}
        title |= {"fontsize": TEXT_SIZE, "fontweight": "normal"}
        for number, (step, cell) in enumerate(zip(steps, axes[0], strict=True)):
            cell.set_title(f"{'' if number else 'step '}{step:,}", **title)
        made = [p.generator for panels in grid.values() for p in panels.values()]
        _draw_key(figure, int(max(np.concatenate(made), default=0)))
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


def _scatter(axes: "Axes", real: np.ndarray, panel: Panel) -> None:
    dots = {"s": 2.0, "linewidths": 0, "rasterized": True}
    axes.scatter(*real.T, color=TRUE, alpha=0.45, **dots)
    order = np.random.default_rng(0).permutation(len(panel.samples))
    colours = [point_colour(number) for number in panel.generator[order]]
    axes.scatter(*panel.samples[order].T, color=colours, **dots)


def _draw_key(figure: "Figure", last: int) -> None:
    """Say under the panels what the colours mean, up to the last generator."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    own = [point_colour(number) for number in range(min(last + 1, KEYED))]
    made = "samples of each generator" if last else "generated samples"
    left, right = "outside lower left", "outside lower right"
    keys: Any = ((left, [TRUE], "true samples"), (right, own, made))
    for place, colours, name in keys:
        style = {"linestyle": "", "marker": "o", "markersize": 4, "markeredgewidth": 0}
        dots: Any = tuple(Line2D([], [], color=colour, **style) for colour in colours)
        figure.legend(
            [dots],
            [name],
            loc=place,
            handler_map={tuple: HandlerTuple(ndivide=None)},
            handlelength=0.8 * len(dots),
        )
