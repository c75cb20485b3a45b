"""Figures and the self-contained HTML report of a run, drawn from plain rows.

Nothing here knows how a run was trained: rows of metrics, rows of layer norms and a
table of mistakes go in, figures and one HTML file come out. matplotlib is imported
where something is drawn, never before.
"""

from lars_jax.report.contact_sheet import Mistakes, contact_sheet
from lars_jax.report.figures import (
    accuracy_by_batch_figure,
    accuracy_figure,
    learning_rate_figure,
    loss_figure,
)
from lars_jax.report.heat_map import trust_ratio_figure
from lars_jax.report.page import write_report
from lars_jax.report.trust_ratios import plot_trust_ratios

__all__ = [
    "Mistakes",
    "accuracy_by_batch_figure",
    "accuracy_figure",
    "contact_sheet",
    "learning_rate_figure",
    "loss_figure",
    "plot_trust_ratios",
    "trust_ratio_figure",
    "write_report",
]
