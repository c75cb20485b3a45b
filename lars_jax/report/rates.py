"""How wide the interval of good learning rates is."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.figures import percent_axis
from lars_jax.report.rows import Row
from lars_jax.report.style import identity, legend_above, log_locator, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rate_figure(rows: Iterable[Row], title: str) -> "Figure":
    """Draw the accuracy of several optimizers over the rate, as a share of the best.

    Rates of optimizers differ by orders of magnitude. Over r / r_best, r_best the rate
    of the highest accuracy and of equals of the lowest loss, the intervals of good ones
    lie one upon the other.

    Args:
        rows: one a run, with `optimizer`, `rate` above zero, `accuracy` as a share of 1
            and, where it is known, `loss`.
        title: what is shown, as "Batch 128".

    Raises:
        InputError: no rows, or a rate that is not above zero.

    Reference:
        Figure 4 of https://arxiv.org/abs/1708.03888

    >>> rows = [{"optimizer": "lars", "rate": r, "accuracy": a}
    ...     for r, a in ((2.0, 0.9), (4.0, 0.8))]
    >>> rate_figure(rows, "Batch 128").axes[0].lines[0].get_xdata().tolist()
    [1.0, 2.0]
    """
    runs: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        if not 0 < row["rate"] < np.inf:
            raise InputError(
                f"rates are above zero and finite; got {row['rate']} of "
                f"{row['optimizer']}: leave it out"
            )
        loss = row.get("loss")
        run = row["rate"], row["accuracy"], -np.inf if loss is None else -loss
        runs.setdefault(row["optimizer"], []).append(run)
    if not runs:
        raise InputError("a figure of rates needs a run; got none: tune a cell")
    figure, axes = new_axes(4.0, 2.9, title)
    for number, (name, own) in enumerate(runs.items()):
        best = max(own, key=lambda run: run[1:])[0]
        rate, accuracy, _ = np.array(sorted(own)).T
        share = rate / best
        look: dict[str, Any] = {"markersize": 4.5, "linewidth": 1.6}
        axes.plot(share, accuracy, label=name, **identity(number), **look)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(log_locator(*axes.get_xlim()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    percent_axis(axes)
    axes.set_xlabel("learning rate, as a multiple of the best")
    legend_above(axes)
    return figure
