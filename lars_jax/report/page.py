"""One HTML file that shows a run and needs nothing else: no network, no script."""

import functools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lars_jax.errors import InputError
from lars_jax.files import replacing
from lars_jax.report.figures import CURVES, Curve, curve_figure
from lars_jax.report.images import Mistakes, image_uri
from lars_jax.report.layers import plot_trust_ratios, trust_ratio_figure
from lars_jax.report.rows import Layers, Row, adapted, layer_series
from lars_jax.report.style import PALETTE, inline_svg

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure


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
    metrics = list(metrics)
    drawn, diverged = [], []
    for number, curve in enumerate(curves):
        if curve.found(metrics):
            about = f"{curve.title} over the steps"
            figure = curve_figure(metrics, curve)
            drawn.append(inline_svg(figure, f"curve{number}", about))
        if broken := curve.diverged(metrics):
            diverged.append((broken[0], curve.lines[broken[1]]))
    for heading, _, image in pictures:
        if not isinstance(image, np.ndarray) and not hasattr(image, "savefig"):
            raise InputError(
                f"a picture must be a figure or an image; got {type(image).__name__} "
                f"for {heading!r}: draw one, or pass uint8 [H, W, 1 or 3]"
            )
    page = _template().render(
        title=title,
        palette=PALETTE,
        summary=summary,
        diverged=diverged,
        curves=drawn,
        layers=None if layers is None else _layers(list(layers)),
        mistakes=mistakes,
        pictures=pictures,
        config=config,
        environment=environment,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def plain(value: Any) -> str:
    """Return a value as it is written in a table of settings.

    >>> [plain(value) for value in (None, True, 8192, 0.0005, (1, 2), "lars")]
    ['none', 'yes', '8,192', '0.0005', '1, 2', 'lars']
    """
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def measured(value: float) -> str:
    """Return a measurement to three digits.

    >>> [measured(value) for value in (4.2, 0.0000123, 53210.0, float("inf"))]
    ['4.20', '1.23e-05', '53,210', '∞']
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if 999.5 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    # With its zeros, for 4.20 is more precise than 4.2; zero itself has no digits.
    return f"{value:#.3g}".rstrip(".") if value else "0"


@functools.cache
def _template() -> "Template":
    """Return `report.html`, which escapes all text that is put into it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("lars_jax.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    for function in (plain, measured, image_uri, inline_svg):
        pages.filters[function.__name__] = function
    return pages.get_template("report.html")


def _layers(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the page tells of the layers: figures, norms and their range."""
    (steps, weight), (_, gradient), (_, ratio), (_, rate) = (
        layer_series(rows, field)
        for field in ("weight_norm", "gradient_norm", "trust_ratio", "effective_rate")
    )
    if not weight:
        return {"names": []}
    chosen = adapted(ratio)
    figures = []
    if chosen:
        about = "Heat map of the trust ratio of each layer over the steps"
        title = "Trust ratio of each layer, as lines"
        figures.append(inline_svg(trust_ratio_figure(rows), "ratio", about))
        figures.append(_lines(steps, ratio, title, "lines"))
    # Beside a global rate of ten all adapted layers would lie at the foot of a figure.
    rates = {name: rate[name] for name in chosen}
    if adapted(rates):
        title = "Effective rate of each layer: global rate times trust ratio"
        figures.append(_lines(steps, rates, title, "rates"))
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = {name: weight[name] / gradient[name] for name in weight}
    columns = {
        "‖w‖": weight,
        "‖g‖": gradient,
        "‖w‖ / ‖g‖": quotient,
        "trust ratio": ratio,
        "rate": rate,
    }
    if all(np.isnan(values).all() for values in rate.values()):
        # Records from before there was such a rate.
        del columns["rate"]
    # How far apart the layers are: the observation that LARS starts from.
    first = [(float(values[0]), name) for name, values in quotient.items()]
    usable = sorted(found for found in first if 0 < found[0] < np.inf)
    return {
        "names": [*weight],
        "figures": figures,
        "excluded": len(ratio) - len(chosen),
        "columns": columns,
        # The first record and the last, which may be one.
        "moments": {n: int(steps[n]) for n in (0, len(steps) - 1)},
        "extremes": (usable[0], usable[-1]) if len(usable) > 1 else None,
    }


def _lines(step: np.ndarray, layers: Layers, title: str, name: str) -> str:
    values = np.stack([*layers.values()], axis=1)
    figure = plot_trust_ratios(step, values, [*layers], title=title)
    return inline_svg(figure, name, f"{title}, one line a layer over the steps")
