"""The figure of weak scaling on virtual devices."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.figures import save_svg
from lars_jax.report.figures import draw_error_bars
from lars_jax.report.style import legend_above, light, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    share = next(row for row in rows if row["devices"] == 1)["core_seconds"]["median"]
    bars: dict[str, list[tuple[int, float, float, float]]] = {}
    for row in rows:
        # Over N times the share: what is left if time is proportional to devices.
        low, middle, high = (
            row["core_seconds"][name] / (row["devices"] * share)
            for name in ("lowest", "median", "highest")
        )
        point = row["devices"], middle, middle - low, high - middle
        bars.setdefault(row["program"], []).append(point)
    draw_error_bars(axes, bars)
    axes.axhline(1.0, color=light("muted"), linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("virtual devices on the same cores")
    axes.set_ylabel("core time of a step / (N x one share)")
    legend_above(axes)
    return figure


def save_figure(rows: Sequence[dict[str, Any]]) -> Path:
    """Write the figure beside its record; the same rows give the same file."""
    text = "Core time of a step on N devices over N times that of one device's share"
    return save_svg(scaling_figure(rows), "scaling", text)
