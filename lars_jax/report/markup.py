"""The few pieces of HTML that a report is made of; all text is escaped here."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def element(tag: str, content: str, **attributes: str) -> str:
    """Return an element around markup; `class_` stands for `class`.

    >>> element("p", "2 &lt; 3", class_="note")
    '<p class="note">2 &lt; 3</p>'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{given}>{content}</{tag}>"


def void(tag: str, **attributes: str) -> str:
    """Return an element that HTML gives no content and no closing tag.

    >>> void("img", alt="a ring")
    '<img alt="a ring">'
    """
    return element(tag, "", **attributes).removesuffix(f"</{tag}>")


def text(tag: str, content: Any, **attributes: str) -> str:
    """Return an element around text of any origin.

    >>> text("p", "a < b")
    '<p>a &lt; b</p>'
    """
    return element(tag, html.escape(plain(content)), **attributes)


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
    own = {name: value for name, value in settings.items() if not _is_section(value)}
    sections = [("", own)] if own else []
    sections += _sections("", settings)
    lines = []
    for name, section in sections:
        if name:
            heading = text("th", name, colspan="2", scope="colgroup", class_="section")
            lines.append(element("tr", heading))
        lines += [
            element("tr", text("th", key, scope="row") + text("td", value))
            for key, value in section.items()
        ]
    return element("table", element("tbody", "\n".join(lines)), class_="settings")


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
    spans = "".join(
        text("th", name, colspan=str(span), scope="colgroup") for name, span in groups
    )
    starts = {sum(span for _, span in groups[:count]) for count in range(len(groups))}

    def cell(tag: str, column: int, content: str, **attributes: str) -> str:
        if column in starts:
            attributes["class_"] = "first"
        return text(tag, content, **attributes)

    heads = "".join(
        cell("th", column, name, scope="col") for column, name in enumerate(columns)
    )
    head = element("thead", element("tr", spans) + element("tr", heads))
    lines = [
        element(
            "tr",
            text("th", name, scope="row")
            + "".join(
                cell("td", column, measured(number))
                for column, number in enumerate(numbers, start=1)
            ),
        )
        for name, numbers in rows
    ]
    table = element("table", head + element("tbody", "\n".join(lines)), class_="norms")
    return element("div", table, class_="scroll", tabindex="0")


def section(title: str, *content: str) -> str:
    """Return a section of the page under its heading."""
    parts = [text("h2", title), *filter(None, content)]
    return element("section", "\n".join(parts))


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


def _sections(
    prefix: str, settings: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for name, value in settings.items():
        if not _is_section(value):
            continue
        path = f"{prefix}{name}"
        own = {key: item for key, item in value.items() if not _is_section(item)}
        found += [(path, own)] if own else []
        found += _sections(f"{path}.", value)
    return found
