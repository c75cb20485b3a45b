"""Figures and the self-contained HTML report of a run, drawn from plain rows.

Nothing here knows how a run was trained: rows of metrics, rows of layer norms, samples
and a table of mistakes go in, figures and one HTML file come out. matplotlib is
imported where something is drawn, never before.
"""

from lars_jax.report.confusion import confusion_figure
from lars_jax.report.figures import (
    CURVES,
    Curve,
    accuracy_by_batch_figure,
    curve_figure,
    distance_figure,
)
from lars_jax.report.images import Mistakes, image_sheet, save_png
from lars_jax.report.intervals import half_interval
from lars_jax.report.layers import plot_trust_ratios, trust_ratio_figure
from lars_jax.report.page import Picture, write_report
from lars_jax.report.plane import Panel, evolution_figure
from lars_jax.report.rates import rate_figure
from lars_jax.report.rows import Series, series

__all__ = [
    "CURVES",
    "Curve",
    "Mistakes",
    "Panel",
    "Picture",
    "Series",
    "accuracy_by_batch_figure",
    "confusion_figure",
    "curve_figure",
    "distance_figure",
    "evolution_figure",
    "half_interval",
    "image_sheet",
    "plot_trust_ratios",
    "rate_figure",
    "save_png",
    "series",
    "trust_ratio_figure",
    "write_report",
]
