"""One HTML file that shows a run and needs nothing else: no network, no script."""

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.figures import CURVES, Curve, curve_figure
from lars_jax.report.html import (
    element,
    inline_svg,
    join,
    measured,
    measurement_table,
    plain,
    section,
    settings_table,
    text,
)
from lars_jax.report.images import Mistakes, image_uri, replace_file
from lars_jax.report.layers import plot_trust_ratios, trust_ratio_figure
from lars_jax.report.rows import LayerTable, Row, layer_table
from lars_jax.report.style import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The browser itself refuses whatever the file does not carry.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
{title}
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

OPEN_UNTIL = 40
"""Layers up to which their table is shown unasked."""

CRISP_UNTIL = 96
"""Width of an image in pixels up to which enlarging shows the pixels themselves."""

NARROW = 4.6
"""Inches up to which a figure shrinks with a phone; a wider one is scrolled."""

ENLARGED = 1.15
"""Most that a figure grows on a wide screen, for its text to keep to that around it."""


class Picture(NamedTuple):
    """Something to look at in a report.

    Attributes:
        title: heading above it.
        caption: what is to be seen, or "".
        image: a figure of matplotlib, or uint8 [H, W, 1 or 3].
    """

    title: str
    caption: str
    image: "Figure | np.ndarray"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any],
    metrics: Iterable[Row],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    layers: Iterable[Row] | None = None,
    mistakes: Mistakes | None = None,
    pictures: Sequence[Picture] = (),
    curves: Sequence[Curve] = CURVES,
) -> None:
    """Write the report of a run as one self-contained HTML file.

    The file has no address of anything outside itself and no script. It follows the
    reader's light or dark scheme and fits a phone. It is written beside its name and
    then renamed, so that a reader never meets half of it; the same input gives the
    same bytes. A run that has only begun is reported as far as it has come.

    Args:
        path: of the file; one that is there is replaced.
        title: heading of the page.
        summary: the headline numbers, by name, in the order shown.
        metrics: rows with `step` and any quantities of the curves.
        config: the resolved configuration, nested mappings of plain values.
        environment: what the numbers depend on besides the configuration.
        layers: rows with `step` and `layers`, a mapping from a parameter's path to its
            `weight_norm`, `gradient_norm`, `trust_ratio` and, in newer records,
            `effective_rate`; may be empty. None: the page does not speak of layers.
        mistakes: what the evaluation got wrong, or None where that is not known.
        pictures: shown one below the other, in their order.
        curves: what is drawn of the metrics, where they have it.

    Raises:
        InputError: a picture that is neither a figure nor an image.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(path, title="digits", summary={"accuracy": "98.06 %"}, config={},
    ...     metrics=[{"step": 1, "train/loss": 2.3}], environment={})
    >>> "98.06 %" in path.read_text(encoding="utf-8")
    True
    """
    body = [
        text("h1", title),
        _headline(summary),
        _curves(list(metrics), curves),
        "" if layers is None else _layers(list(layers)),
        "" if mistakes is None else _mistakes(mistakes),
        *(_picture(picture, number) for number, picture in enumerate(pictures)),
        _settings(config, environment),
    ]
    page = PAGE.format(
        policy=POLICY, title=text("title", title), style=_style(), body=join(body)
    )
    replace_file(path, page.encode())


def _headline(summary: Mapping[str, Any]) -> str:
    items = [
        element("div", text("dt", name) + text("dd", plain(value)))
        for name, value in summary.items()
    ]
    return element("dl", "\n".join(items), class_="headline") if items else ""


def _curves(metrics: Sequence[Row], curves: Sequence[Curve]) -> str:
    title, drawn, alerts = "Course of training", [], []
    for number, curve in enumerate(curves):
        if not curve.found(metrics):
            continue
        about, figure = f"{curve.title} over the steps", curve_figure(metrics, curve)
        drawn.append(element("figure", inline_svg(figure, f"curve{number}", about)))
        if broken := curve.diverged(metrics):
            step, name = broken
            words = f"This run diverged: at step {step:,} the loss of the "
            words += f"{curve.lines[name]} is not finite."
            alerts.append(text("p", words, class_="alert"))
    if not drawn:
        return section(title, text("p", "No step has been logged."))
    return section(title, *alerts, element("div", "\n".join(drawn), class_="curves"))


def _layers(layers: Sequence[Row]) -> str:
    if not any(row["layers"] for row in layers):
        return section("Layers", text("p", "This run recorded no layers."))
    return section("Layers", _ratios(layers), _norms(layers))


def _ratios(layers: Sequence[Row]) -> str:
    table = layer_table(layers, "trust_ratio")
    adapted = table.adapted()
    if not len(adapted):
        words = "No layer was adapted: every update has a trust ratio of one."
        return text("p", words, class_="note")
    words = (
        "The local learning rate of each layer is its trust ratio times the global "
        "rate. Colour and height are on logarithmic scales; what is blank had no "
        "positive ratio."
    )
    if excluded := len(table.names) - len(adapted):
        words += f" Left out: {excluded} of {len(table.names)} that are not adapted."
    about = "Heat map of the trust ratio of each layer over the steps"
    drawn = [
        text("p", words, class_="note"),
        _wide(inline_svg(trust_ratio_figure(layers), "ratio", about)),
        _lines(table, "Trust ratio of each layer, as lines", "lines"),
    ]
    # Beside a global rate of ten all adapted layers would lie at the foot of a figure.
    rates = layer_table(layers, "effective_rate").take(adapted)
    if len(rates.adapted()):
        title = "Effective rate of each layer: global rate times trust ratio"
        drawn.append(_lines(rates, title, "rates"))
    return join(drawn)


def _lines(table: LayerTable, title: str, name: str) -> str:
    figure = plot_trust_ratios(table.step, table.value.T, table.names, title=title)
    return _wide(inline_svg(figure, name, f"{title}, one line a layer over the steps"))


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
    moments = [0] if len(weight.step) == 1 else [0, -1]
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
    ranges = _ranges(weight.names, quotient[:, 0], int(weight.step[0]))
    return text("h3", "Norms of weights and gradients") + ranges + table


def _ranges(names: tuple[str, ...], quotient: np.ndarray, step: int) -> str:
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


def _mistakes(mistakes: Mistakes) -> str:
    title, count = "What the network got wrong", len(mistakes)
    if not count:
        return section(title, text("p", "Nothing wrong: every example has its label."))
    words = (
        f"{count} evaluated {'example' if count == 1 else 'examples'}: the prediction "
        "with its probability, then the label and the number of the example in its "
        "split."
    )
    tiles = "\n".join(_tile(mistakes, number) for number in range(count))
    note = text("p", words, class_="note")
    return section(title, note, element("div", tiles, class_="tiles"))


def _tile(mistakes: Mistakes, number: int) -> str:
    image = mistakes.image[number]
    label = mistakes.name(int(mistakes.label[number]))
    prediction = mistakes.name(int(mistakes.prediction[number]))
    confidence = f"{100 * float(mistakes.confidence[number]):.0f} %"
    kind = "crisp" if image.shape[1] <= CRISP_UNTIL else "smooth"
    about = f"{label} taken for {prediction}"
    picture = element("img", None, src=image_uri(image), alt=about, class_=kind)
    caption = (
        element("div", text("b", prediction) + " " + text("span", confidence))
        + text("div", f"is {label}")
        + text("div", f"# {int(mistakes.index[number])}", class_="index")
    )
    return element("figure", picture + element("figcaption", caption), class_="tile")


def _picture(picture: Picture, number: int) -> str:
    title, caption, image = picture
    if isinstance(image, np.ndarray):
        source = image_uri(image)
        size = {"width": str(image.shape[1]), "height": str(image.shape[0])}
        drawn = element("img", None, src=source, alt=title, class_="sheet", **size)
    elif hasattr(image, "savefig"):
        width = image.get_figwidth()
        least = width if width > NARROW else 0
        size = f"min-width: {least:.3g}in; max-width: {ENLARGED * width:.3g}in"
        drawn = element("div", inline_svg(image, f"picture{number}", title), style=size)
    else:
        raise InputError(
            "a picture must be a figure or an image; got "
            f"{type(image).__name__} for {title!r}: draw one, or pass uint8 "
            "[H, W, 1 or 3]"
        )
    note = text("p", caption, class_="note") if caption else ""
    scroll = element("div", drawn, class_="scroll", tabindex="0")
    return section(title, note, element("figure", scroll))


def _settings(config: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    halves = [
        element("div", text("h2", title) + settings_table(settings))
        for title, settings in (("Configuration", config), ("Environment", environment))
        if settings
    ]
    return element("section", "\n".join(halves), class_="halves") if halves else ""


def _style() -> str:
    light, dark = (
        " ".join(f"--{name}: {colour[way]};" for name, colour in PALETTE.items())
        for way in (0, 1)
    )
    rules = resources.files("lars_jax.report").joinpath("report.css")
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        + rules.read_text(encoding="utf-8").strip()
    )
