"""One HTML file that shows a run and needs nothing else: no network, no script."""

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from lars_jax.report.contact_sheet import Mistakes
from lars_jax.report.files import replace
from lars_jax.report.markup import text
from lars_jax.report.rows import Row
from lars_jax.report.sections import (
    curves,
    headline,
    join,
    layer_section,
    mistakes_section,
    settings_section,
)
from lars_jax.report.style import PALETTE

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


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    metrics: Iterable[Row],
    layers: Iterable[Row],
    mistakes: Mistakes | None,
    environment: Mapping[str, Any],
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
        config: the resolved configuration, nested mappings of plain values.
        metrics: rows with `step` and any of `train/loss`, `train/accuracy`,
            `eval/loss`, `eval/accuracy`, `learning_rate`; accuracies as fractions.
        layers: rows with `step` and `layers`, a mapping from a parameter's path to its
            `weight_norm`, `gradient_norm`, `trust_ratio` and, in newer records,
            `effective_rate`; may be empty.
        mistakes: what the evaluation got wrong, or None where that is not known.
        environment: what the numbers depend on besides the configuration.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(path, title="digits", summary={"accuracy": "98.06 %"}, config={},
    ...     metrics=[{"step": 1, "train/loss": 2.3}], layers=[], mistakes=None,
    ...     environment={})
    >>> "98.06 %" in path.read_text(encoding="utf-8")
    True
    """
    sections = [
        headline(summary),
        curves(list(metrics)),
        layer_section(list(layers)),
        mistakes_section(mistakes),
        settings_section(config, environment),
    ]
    write_page(path, title, sections)


def write_page(
    path: str | os.PathLike[str], title: str, body_sections: Iterable[str]
) -> None:
    """Write a page of the kind that every report is, from its sections.

    Args:
        path: of the file; one that is there is replaced.
        title: heading of the page.
        body_sections: markup, one below the other; empty ones are left out.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "page.html"
    >>> write_page(path, "a < b", ["<section>text</section>"])
    >>> "<h1>a &lt; b</h1>" in path.read_text(encoding="utf-8")
    True
    """
    page = PAGE.format(
        policy=POLICY,
        title=text("title", title),
        style=_style(),
        body=join([text("h1", title), *body_sections]),
    )
    replace(path, page.encode())


def _style() -> str:
    light = _variables({name: colour.light for name, colour in PALETTE.items()})
    dark = _variables({name: colour.dark for name, colour in PALETTE.items()})
    rules = resources.files("lars_jax.report").joinpath("report.css")
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        + rules.read_text(encoding="utf-8").strip()
    )


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
