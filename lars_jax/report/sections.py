"""The sections of a report, each from the rows that it shows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lars_jax.report.contact_sheet import CRISP_UNTIL, Mistakes
from lars_jax.report.figures import accuracy_figure, learning_rate_figure, loss_figure
from lars_jax.report.heat_map import adapted_rows, trust_ratio_figure
from lars_jax.report.inline import image_uri, inline_svg
from lars_jax.report.markup import (
    element,
    measured,
    measurement_table,
    plain,
    section,
    settings_table,
    text,
    void,
)
from lars_jax.report.rows import LayerTable, Row, Series, layer_table, series
from lars_jax.report.trust_ratios import plot_trust_ratios

OPEN_UNTIL = 40
"""Layers up to which their table is shown unasked."""


def headline(summary: Mapping[str, Any]) -> str:
    """Return the numbers that one looks for first, each with its name."""
    items = [
        element("div", text("dt", name) + text("dd", plain(value)))
        for name, value in summary.items()
    ]
    return element("dl", "\n".join(items), class_="headline") if items else ""


def curves(metrics: Sequence[Row]) -> str:
    """Return the curves of loss, accuracy and learning rate that the rows allow."""
    known = {name for row in metrics for name in row}
    figures = []
    if known & {"train/loss", "eval/loss"}:
        about = "Training and evaluation loss over the steps"
        figures.append(inline_svg(loss_figure(metrics), "loss", about))
    if known & {"train/accuracy", "eval/accuracy"}:
        about = "Training and evaluation accuracy over the steps"
        figures.append(inline_svg(accuracy_figure(metrics), "accuracy", about))
    if "learning_rate" in known:
        about = "Global learning rate over the steps"
        figures.append(inline_svg(learning_rate_figure(metrics), "rate", about))
    return course(figures, diverged(series(metrics, "train/loss"), ""))


def course(figures: Sequence[str], note: str) -> str:
    """Return the section of the curves, side by side.

    Args:
        figures: as markup.
        note: markup above them, or "".
    """
    title = "Course of training"
    if not figures:
        return section(title, text("p", "No step has been logged."))
    drawn = "\n".join(element("figure", figure) for figure in figures)
    return section(title, note, element("div", drawn, class_="curves"))


def diverged(loss: Series, of: str) -> str:
    """Return a paragraph on the first loss that is not finite; "" where all are.

    Args:
        loss: over the steps.
        of: whose loss it is, where there are several, or "".
    """
    broken = loss.step[~np.isfinite(loss.value)]
    if not len(broken):
        return ""
    whose = f"the loss of the {of}" if of else "its loss"
    words = f"This run diverged: at step {int(broken[0]):,} {whose} is not finite."
    return text("p", words, class_="alert")


def layer_section(layers: Sequence[Row]) -> str:
    """Return the trust ratios over time and the norms of the first and last record."""
    if not any(row["layers"] for row in layers):
        return section("Layers", text("p", "This run recorded no layers."))
    return section("Layers", _ratios(layers), _norms(layers))


def mistakes_section(mistakes: Mistakes | None) -> str:
    """Return the examples that the network got wrong, as images with captions."""
    title = "What the network got wrong"
    if mistakes is None:
        return section(title, text("p", "This run has not listed its mistakes."))
    if not len(mistakes):
        return section(title, text("p", "Nothing wrong: every example has its label."))
    tiles = [_tile(mistakes, number) for number in range(len(mistakes))]
    note = text(
        "p",
        f"{len(mistakes)} evaluated "
        f"{'example' if len(mistakes) == 1 else 'examples'}: the prediction with its "
        "probability, then the label and the number of the example in its split.",
        class_="note",
    )
    return section(title, note, element("div", "\n".join(tiles), class_="tiles"))


def settings_section(config: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Return the resolved configuration and where the run was made, side by side."""
    halves = [
        element("div", text("h2", title) + settings_table(settings))
        for title, settings in (("Configuration", config), ("Environment", environment))
        if settings
    ]
    return element("section", "\n".join(halves), class_="halves") if halves else ""


def _ratios(layers: Sequence[Row]) -> str:
    table = layer_table(layers, "trust_ratio")
    adapted = len(adapted_rows(table))
    if not adapted:
        words = "No layer was adapted: every update has a trust ratio of one."
        return text("p", words, class_="note")
    excluded = len(table.names) - adapted
    words = (
        "The local learning rate of each layer is its trust ratio times the global "
        "rate. Colour and height are on logarithmic scales; what is blank had no "
        "positive ratio."
    )
    if excluded:
        words += f" Left out: {excluded} of {len(table.names)} that are not adapted."
    about = "Heat map of the trust ratio of each layer over the steps"
    drawn = [_wide(inline_svg(trust_ratio_figure(layers), "ratio", about))]
    drawn.append(_lines(table, "Trust ratio of each layer, as lines", "lines"))
    rates = layer_table(layers, "effective_rate")
    if adapted_rows(rates).size:
        title = "Effective rate of each layer: global rate times trust ratio"
        drawn.append(_lines(_adapted_alone(rates, table), title, "rates"))
    return text("p", words, class_="note") + join(drawn)


def _adapted_alone(table: LayerTable, ratios: LayerTable) -> LayerTable:
    # Beside a global rate of ten all adapted layers would lie at the foot of a figure.
    rows = adapted_rows(ratios)
    names = tuple(table.names[row] for row in rows)
    return LayerTable(names, table.step, table.value[rows])


def _lines(table: LayerTable, title: str, name: str) -> str:
    figure = plot_trust_ratios(table.step, table.value.T, table.names, title=title)
    about = f"{title}, one line a layer over the steps"
    return _wide(inline_svg(figure, name, about))


def _wide(drawn: str) -> str:
    """Return a figure that keeps its size where a narrow screen scrolls it."""
    scroll = element("div", drawn, class_="scroll map", tabindex="0")
    return element("figure", scroll, class_="wide")


def _norms(layers: Sequence[Row]) -> str:
    weight, gradient, ratio, rate = (
        layer_table(layers, field)
        for field in ("weight_norm", "gradient_norm", "trust_ratio", "effective_rate")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = weight.value / gradient.value
    moments = [0] if len(weight.step) == 1 else [0, -1]
    columns = {
        "‖w‖": weight.value,
        "‖g‖": gradient.value,
        "‖w‖ / ‖g‖": quotient,
        "trust ratio": ratio.value,
        "rate": rate.value,
    }
    if np.isnan(rate.value).all():
        # Records from before there was such a rate.
        del columns["rate"]
    rows = [
        (name, [c[row, moment] for moment in moments for c in columns.values()])
        for row, name in enumerate(weight.names)
    ]
    width = len(columns)
    groups = [("", 1)] + [(f"step {int(weight.step[m]):,}", width) for m in moments]
    heads = ["parameter"] + [*columns] * len(moments)
    table = measurement_table(groups, heads, rows)
    if len(rows) > OPEN_UNTIL:
        label = text("summary", f"Norms of all {len(rows)} parameters")
        table = element("details", label + table)
    spread = _spread(weight.names, quotient[:, 0], int(weight.step[0]))
    return text("h3", "Norms of weights and gradients") + spread + table


def _spread(names: tuple[str, ...], quotient: np.ndarray, step: int) -> str:
    """Say how far apart the layers are: the observation that LARS starts from."""
    finite = np.isfinite(quotient) & (quotient > 0)
    known = sorted((float(quotient[row]), names[row]) for row in np.flatnonzero(finite))
    words = (
        "What Table 2 of the paper lists after the first step; the rate is the global "
        "one times the trust ratio. "
    )
    if len(known) > 1:
        (least, low), (most, high) = known[0], known[-1]
        words += (
            f"Here ‖w‖ / ‖g‖ at step {step:,} ranges over a factor of "
            f"{measured(most / least)}, from {low} ({measured(least)}) to {high} "
            f"({measured(most)})."
        )
    return text("p", words, class_="note")


def _tile(mistakes: Mistakes, number: int) -> str:
    image = mistakes.image[number]
    label = mistakes.name(int(mistakes.label[number]))
    prediction = mistakes.name(int(mistakes.prediction[number]))
    confidence = f"{100 * float(mistakes.confidence[number]):.0f} %"
    crisp = "crisp" if image.shape[1] <= CRISP_UNTIL else "smooth"
    picture = void(
        "img", src=image_uri(image), alt=f"{label} taken for {prediction}", class_=crisp
    )
    caption = (
        element("div", text("b", prediction) + " " + text("span", confidence))
        + text("div", f"is {label}")
        + text("div", f"# {int(mistakes.index[number])}", class_="index")
    )
    return element("figure", picture + element("figcaption", caption), class_="tile")


def join(parts: Iterable[str]) -> str:
    """Return the parts that are there, one after the other."""
    return "\n".join(part for part in parts if part)
