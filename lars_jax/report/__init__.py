"""Figures and the self-contained HTML report of a run, drawn from plain rows.

Nothing here knows how a run was trained: rows of metrics, rows of layer norms, samples
and a table of mistakes go in, figures and one HTML file come out. matplotlib is
imported where something is drawn, never before.
"""

from lars_jax.report.confusion import confusion_figure
from lars_jax.report.contact_sheet import Mistakes, contact_sheet
from lars_jax.report.distances import distance_figure
from lars_jax.report.figures import (
    accuracy_by_batch_figure,
    accuracy_figure,
    learning_rate_figure,
    loss_figure,
)
from lars_jax.report.game_figures import (
    game_distance_figure,
    game_evaluation_figure,
    game_loss_figure,
)
from lars_jax.report.game_page import Picture, write_game_report
from lars_jax.report.heat_map import trust_ratio_figure
from lars_jax.report.page import write_page, write_report
from lars_jax.report.plane import Panel, evolution_figure
from lars_jax.report.rows import Series, series
from lars_jax.report.sheets import image_sheet, save_png
from lars_jax.report.trust_ratios import plot_trust_ratios

__all__ = [
    "Mistakes",
    "Panel",
    "Picture",
    "Series",
    "accuracy_by_batch_figure",
    "accuracy_figure",
    "confusion_figure",
    "contact_sheet",
    "distance_figure",
    "evolution_figure",
    "game_distance_figure",
    "game_evaluation_figure",
    "game_loss_figure",
    "image_sheet",
    "learning_rate_figure",
    "loss_figure",
    "plot_trust_ratios",
    "save_png",
    "series",
    "trust_ratio_figure",
    "write_game_report",
    "write_page",
    "write_report",
]
