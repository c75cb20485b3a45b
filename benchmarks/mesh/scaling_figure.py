"""The figure of weak scaling on virtual devices."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.figures import save_svg
from lars_jax.report.figures import MARKERS
from lars_jax.report.style import (
    SERIES,
    label_axis,
    legend_above,
    light,
    new_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DODGE = 0.05
"""Octaves that programs stand apart, so that no bar hides another."""


def scaling_figure(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Draw what a step on N devices costs over N times one device's share.

    The cost is the time that all cores together worked, which hardly depends on what
    else they do. A point is the median of the rounds inside a bar from the least to the
    most. Where a back-end stands above the line of one device with the same batch, that
    is its overhead; at one, N devices cost N times as much as one does for its share.

    Args:
        rows: as `benchmarks.mesh.scaling` records them.

    >>> cost = {"median": 2.0, "lowest": 1.0, "highest": 3.0}
    >>> rows = [{"program": "jit", "devices": 1, "core_seconds": cost}]
    >>> scaling_figure(rows).axes[0].get_xticks().tolist()
    [1]
    """
    figure, axes = new_axes(6.4, 3.8, "Weak scaling")
    devices = sorted({row["devices"] for row in rows})
    share = next(row for row in rows if row["devices"] == 1)
    programs = list(dict.fromkeys(row["program"] for row in rows))
    for number, program in enumerate(programs):
        own = [row for row in rows if row["program"] == program]
        shift = 2 ** (DODGE * (number - (len(programs) - 1) / 2))
        _draw_program(axes, own, share["core_seconds"]["median"], number, shift)
    axes.axhline(1.0, color=light("muted"), linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_xscale("log", base=2)
    axes.set_xticks(devices, [str(count) for count in devices])
    axes.minorticks_off()
    axes.set_ylim(bottom=0.0)
    label_axis(axes, "x", "virtual devices on the same cores")
    label_axis(axes, "y", "core time of a step / (N x one share)")
    legend_above(axes)
    return figure


def save_figure(rows: Sequence[dict[str, Any]]) -> Path:
    """Write the figure beside its record; the same rows give the same file."""
    text = "Core time of a step on N devices over N times that of one device's share"
    return save_svg(scaling_figure(rows), "scaling", text)


def _draw_program(
    axes: "Axes", rows: list[dict[str, Any]], share: float, number: int, shift: float
) -> None:
    # Over N times the share: what is left if time is proportional to devices.
    scaled = [
        {
            name: row["core_seconds"][name] / (row["devices"] * share)
            for name in ("median", "lowest", "highest")
        }
        for row in rows
    ]
    axes.errorbar(
        [shift * row["devices"] for row in rows],
        [point["median"] for point in scaled],
        yerr=[
            [point["median"] - point["lowest"] for point in scaled],
            [point["highest"] - point["median"] for point in scaled],
        ],
        label=rows[0]["program"],
        color=light(SERIES[number % len(SERIES)]),
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.5,
        linewidth=1.6,
        capsize=3,
        elinewidth=1.0,
    )
