"""How far from the truth several methods are over the steps, seeds taken together."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.figures import MARKERS
from lars_jax.report.legend import LINE, legend_below_title, legend_shape
from lars_jax.report.rows import Series
from lars_jax.report.scale import logarithmic_axis
from lars_jax.report.style import SERIES, label_axis, light, new_axes, step_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.6, 2.8
"""Inches without the legend; two abreast fill a page, one alone a phone."""

MOST_MARKS = 12
"""Marks on a line; more would make it a string of pearls."""

TRUE = "true samples"


def distance_figure(
    series: Mapping[str, Sequence[Series]],
    floor: float | None,
    *,
    title: str,
    unit: str = "",
    methods: Sequence[str] = (),
) -> "Figure":
    """Draw a distance of each method over the steps, on a logarithmic axis.

    The line is the mean of the seeds, the band reaches from the least to the greatest
    of them. A value that is not finite or not above zero has no place on the axis and
    is left out; a step that some seeds lack shows those that have it.

    Args:
        series: of each method by its name, one of `step` and `value` for each seed.
        floor: the distance that as many true samples have, drawn dashed; None: not
            known.
        title: what the figure shows.
        unit: what the y axis counts, or "".
        methods: names of all methods of a comparison, so that each has the same colour
            in every figure of it, whichever it lacks; (): those of `series`.

    Raises:
        InputError: nothing positive to draw, a series whose steps and values differ in
            number, a method that `methods` lacks, or a floor that is not positive.

    Reference:
        Figures 2a and 2b of https://arxiv.org/abs/1708.02556

    >>> seeds = [Series(np.array([1, 2]), np.array([4.0, d])) for d in (1.0, 3.0)]
    >>> figure = distance_figure({"MGAN": seeds}, 0.5, title="Wasserstein distance")
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [4.0, 2.0]
    """
    names = list(methods or series)
    lacking = [name for name in series if name not in names]
    if lacking:
        raise InputError(
            f"methods must name all that are drawn; {names} lack {lacking}: add them"
        )
    if floor is not None and not 0 < floor < np.inf:
        raise InputError(
            f"a floor must be above zero and finite; got {floor}: pass None for none"
        )
    drawn = {name: _gathered(name, seeds) for name, seeds in series.items()}
    drawn = {
        name: seeds for name, seeds in drawn.items() if np.isfinite(seeds[1]).any()
    }
    if not drawn:
        raise InputError(
            f"a figure of distances needs a value above zero; got none in "
            f"{len(series)} methods: evaluate them"
        )
    legend = [*drawn, TRUE] if floor is not None else [*drawn]
    columns, lines = legend_shape(legend, WIDTH)
    # The legend has lines of its own: names of methods are long, and so are titles.
    room = LINE * lines
    figure, axes = new_axes(WIDTH, HEIGHT + room / 72, title, pad=9 + room)
    for name, (step, value) in drawn.items():
        _draw_method(axes, step, value, name, names.index(name))
    if floor is not None:
        style = {"color": light("muted"), "linewidth": 1.3, "linestyle": (0, (4, 2))}
        axes.axhline(floor, label=TRUE, **style)
    every = [value.ravel() for _, value in drawn.values()]
    logarithmic_axis(axes, np.concatenate([*every, [floor or np.nan]]))
    steps = np.concatenate([step for step, _ in drawn.values()])
    step_axis(axes, int(steps.min()), int(steps.max()))
    label_axis(axes, "x", f"step{_seeds([len(value) for _, value in drawn.values()])}")
    label_axis(axes, "y", unit)
    legend_below_title(axes, columns)
    return figure


def _gathered(name: str, seeds: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps [S] that any seed has, and values [seeds, S], NaN for none."""
    pairs = [(np.asarray(step), np.asarray(value, float)) for step, value in seeds]
    for step, value in pairs:
        if step.ndim != 1 or step.shape != value.shape:
            raise InputError(
                f"a series of {name} must have a value for each step; got steps "
                f"{list(step.shape)} and values {list(value.shape)}: pass both alike"
            )
    steps = np.unique(np.concatenate([np.zeros(0, int), *(step for step, _ in pairs)]))
    table = np.full((len(pairs), len(steps)), np.nan)
    for row, (step, value) in enumerate(pairs):
        usable = np.isfinite(value) & (value > 0)
        table[row, np.searchsorted(steps, step[usable])] = value[usable]
    known = np.isfinite(table).any(axis=0)
    return steps[known], table[:, known]


def _draw_method(
    axes: "Axes", step: np.ndarray, value: np.ndarray, name: str, number: int
) -> None:
    colour = light(SERIES[number % len(SERIES)])
    axes.plot(
        step,
        np.nanmean(value, axis=0),
        color=colour,
        linewidth=1.6,
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.0,
        markevery=-(-len(step) // MOST_MARKS),
        label=name,
    )
    if len(value) > 1:
        low, high = np.nanmin(value, axis=0), np.nanmax(value, axis=0)
        axes.fill_between(step, low, high, color=colour, alpha=0.18, linewidth=0)


def _seeds(counts: list[int]) -> str:
    least, most = min(counts), max(counts)
    if most == 1:
        return "; one seed each"
    count = f"{most}" if least == most else f"{least} to {most}"
    return f"; mean and range of {count} seeds"
