"""The report of a game: of a run that trains generators against a discriminator."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.game_figures import LOSSES, drawable, first_broken
from lars_jax.report.inline import image_uri, inline_svg
from lars_jax.report.markup import element, section, text, void
from lars_jax.report.page import write_page
from lars_jax.report.rows import Row, series
from lars_jax.report.sections import course, diverged, headline, settings_section
from lars_jax.report.sheets import checked_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def write_game_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any],
    metrics: Iterable[Row],
    pictures: Sequence[Picture],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> None:
    """Write the report of a game as one self-contained HTML file.

    The page is of the kind that `write_report` writes: nothing outside itself, no
    script, light or dark as the reader has it, the same bytes for the same input,
    never half written. A run that has only begun is reported as far as it has come.

    Args:
        path: of the file; one that is there is replaced.
        title: heading of the page.
        summary: the headline numbers, by name, in the order shown.
        metrics: rows with `step` and any of `discriminator_loss`, `generator_loss`,
            `classifier_loss`, `eval/wasserstein`, `eval/symmetric_kl`, the same two
            under `eval/average/`, `eval/modes`, `eval/purity`, and for the dashed
            lines `floor/wasserstein`, `floor/symmetric_kl`.
        pictures: shown one below the other, in their order.
        config: the resolved configuration, nested mappings of plain values.
        environment: what the numbers depend on besides the configuration.

    Raises:
        InputError: a picture that is neither a figure nor an image.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> write_game_report(path, title="ring", summary={"modes": "8 of 8"}, metrics=[
    ...     {"step": 1, "eval/modes": 8}], pictures=[], config={}, environment={})
    >>> "8 of 8" in path.read_text(encoding="utf-8")
    True
    """
    sections = [headline(summary), _curves(list(metrics))]
    sections += [_shown(picture, number) for number, picture in enumerate(pictures)]
    write_page(path, title, [*sections, settings_section(config, environment)])


def _curves(metrics: Sequence[Row]) -> str:
    drawn = [
        inline_svg(draw(), f"curve{number}", f"{title} over the steps")
        for number, (title, draw) in enumerate(drawable(metrics).items())
    ]
    losses = {name: series(metrics, name) for name in LOSSES}
    broken = first_broken(losses)
    note = diverged(losses[broken], LOSSES[broken]) if broken else ""
    return course(drawn, note)


def _shown(picture: Picture, number: int) -> str:
    title, caption, image = picture
    if isinstance(image, np.ndarray):
        drawn = _image(image, title)
    elif hasattr(image, "savefig"):
        drawn = _figure(image, f"picture{number}", title)
    else:
        raise InputError(
            f"a picture must be a figure or an image; got {type(image).__name__} for "
            f"{title!r}: draw one, or pass uint8 [H, W, 1 or 3]"
        )
    note = text("p", caption, class_="note") if caption else ""
    scroll = element("div", drawn, class_="scroll", tabindex="0")
    return section(title, note, element("figure", scroll))


def _figure(figure: "Figure", name: str, title: str) -> str:
    width = figure.get_figwidth()
    least = width if width > NARROW else 0
    size = f"min-width: {least:.3g}in; max-width: {ENLARGED * width:.3g}in"
    return element("div", inline_svg(figure, name, title), style=size)


def _image(image: np.ndarray, title: str) -> str:
    height, width = checked_image(image).shape[:2]
    size = {"width": str(width), "height": str(height)}
    return void("img", src=image_uri(image), alt=title, class_="sheet", **size)
