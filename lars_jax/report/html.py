"""The pieces of HTML that a report is made of; all text is escaped here."""

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lars_jax.report.style import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def element(tag: str, content: str | None, **attributes: str) -> str:
    """Return an element around markup; `class_` stands for `class`.

    Args:
        tag: of the element.
        content: markup; None: the element is one that is never closed.
        attributes: of any text.

    >>> element("p", "2 &lt; 3", class_="note")
    '<p class="note">2 &lt; 3</p>'
    >>> element("img", None, alt="a ring")
    '<img alt="a ring">'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{given}>" + ("" if content is None else f"{content}</{tag}>")


def text(tag: str, content: Any, **attributes: str) -> str:
    """Return an element around text of any origin.

    >>> text("p", "a < b")
    '<p>a &lt; b</p>'
    """
    return element(tag, html.escape(plain(content)), **attributes)


def section(title: str, *content: str) -> str:
    """Return a section of the page under its heading."""
    return element("section", join([text("h2", title), *content]))


def join(parts: Iterable[str]) -> str:
    """Return the parts that are there, one after the other."""
    return "\n".join(part for part in parts if part)


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


def settings_table(settings: Mapping[str, Any]) -> str:
    """Return nested settings as a table of two columns, a heading for each section.

    >>> settings_table({"seed": 0, "model": {"depth": 20}}).count("<tr>")
    3
    """
    body = element("tbody", "\n".join(_settings(settings, "")))
    return element("table", body, class_="settings")


def measurement_table(
    groups: Sequence[tuple[str, int]],
    columns: Sequence[str],
    rows: Iterable[tuple[str, Sequence[float]]],
) -> str:
    """Return a table of numbers, its columns under headings of groups.

    Args:
        groups: heading and number of columns of each group; the first stands over the
            names of the rows.
        columns: heading of each column, that of the names first.
        rows: name and numbers of each row.
    """
    starts = np.cumsum([0, *(span for _, span in groups)]).tolist()

    def cell(tag: str, column: int, content: str, **attributes: str) -> str:
        if column in starts:
            attributes["class_"] = "first"
        return text(tag, content, **attributes)

    spans = [
        text("th", name, colspan=str(span), scope="colgroup") for name, span in groups
    ]
    heads = [cell("th", at, name, scope="col") for at, name in enumerate(columns)]
    lines = []
    for name, numbers in rows:
        own = [cell("td", at, measured(n)) for at, n in enumerate(numbers, start=1)]
        lines.append(element("tr", text("th", name, scope="row") + "".join(own)))
    head = element("tr", "".join(spans)) + element("tr", "".join(heads))
    body = element("thead", head) + element("tbody", "\n".join(lines))
    table = element("table", body, class_="norms")
    return element("div", table, class_="scroll", tabindex="0")


def inline_svg(figure: "Figure", name: str, description: str) -> str:
    """Return a figure as an `<svg>` element that may stand in an HTML body.

    Text stays text, in the font of the page. Colours of the palette become variables
    of its style sheet. What only a file needs goes: prologue, metadata, namespaces.
    The same figure always gives the same element.

    Args:
        figure: drawn in the light colours of the palette.
        name: unique in the page; it keeps the identifiers of figures apart.
        description: read out where the figure cannot be seen.

    >>> from lars_jax.report.style import new_axes
    >>> inline_svg(new_axes(2.0, 1.0, "Loss")[0], "loss", "The loss")[:39]
    '<svg role="img" aria-label="The loss" w'
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    for use, colour in PALETTE.items():
        svg = svg.replace(colour.light, f"var(--{use})")
    label = html.escape(description)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


def _settings(settings: Mapping[str, Any], path: str) -> list[str]:
    """Return the lines of a section of settings, and of those within it."""
    parts = {name: v for name, v in settings.items() if isinstance(v, Mapping) and v}
    own = [
        element("tr", text("th", name, scope="row") + text("td", value))
        for name, value in settings.items()
        if name not in parts
    ]
    if own and path:
        heading = text("th", path, colspan="2", scope="colgroup", class_="section")
        own.insert(0, element("tr", heading))
    for name, value in parts.items():
        own += _settings(value, f"{path}.{name}" if path else name)
    return own
