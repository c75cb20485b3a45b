"""Sheets of images: samples of each generator, paths between noises, neighbours."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.files import replace
from lars_jax.report.inline import png

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

LEGIBLE = 64
"""Pixels of the longer side to which a small image is enlarged at least."""

TEXT_HEIGHT = 13
"""Pixels of a letter's height, lines apart by a fifth more."""

PADDING = 8
"""Pixels between a label and what it labels."""

Background = tuple[int, int, int]
Mark = tuple[str, tuple[float, float], str, str]


def image_sheet(
    images: np.ndarray,
    *,
    scale: int | None = None,
    gap: int = 2,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    background: Background = (255, 255, 255),
) -> np.ndarray:
    """Return a grid of images as one image, each pixel of them a square of pixels.

    Row labels stand on the left, upright, and may have several lines. Column labels
    stand above, in as many lines as their words need; a word that is wider than its
    column ends in an ellipsis.

    Args:
        images: uint8 [R, C, H, W, 1 or 3], 0 to 255.
        scale: pixels to each pixel's side; None: the least that makes the longer side
            of an image 64.
        gap: pixels between two images and around all.
        row_labels: R texts.
        column_labels: C texts.
        background: red, green and blue, 0 to 255; letters are dark on a light one and
            light on a dark one.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: images of another shape or type, none of them, a number of labels
            that is not that of the rows or columns, or a scale or gap out of range.

    >>> sheet = image_sheet(np.zeros((2, 3, 4, 4, 1), np.uint8), scale=2, gap=1)
    >>> sheet.shape, sheet[:3, 1, 0].tolist()
    ((19, 28, 3), [255, 0, 0])
    """
    images = np.asarray(images)
    _check(images, scale, gap, row_labels, column_labels)
    rows, columns, height, width, _ = images.shape
    scale = scale or max(1, -(-LEGIBLE // max(height, width)))
    height, width = scale * height, scale * width
    font = _font()
    heads = [_fitted(text, width + gap, font) for text in column_labels or ()]
    left = _extent(row_labels or (), font)[0]
    top = _extent(heads, font)[1]
    shape = (
        top + gap + rows * (height + gap),
        left + gap + columns * (width + gap),
        3,
    )
    sheet = np.broadcast_to(np.array(background, np.uint8), shape).copy()
    across = [left + gap + column * (width + gap) for column in range(columns)]
    down = [top + gap + row * (height + gap) for row in range(rows)]
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    for row, y in enumerate(down):
        for column, x in enumerate(across):
            sheet[y : y + height, x : x + width] = large[row, column]
    marks: list[Mark] = [
        (text, (left - PADDING, y + height / 2), "rm", "right")
        for text, y in zip(row_labels or (), down, strict=False)
    ]
    marks += [
        (text, (x + width / 2, top - PADDING / 2), "md", "center")
        for text, x in zip(heads, across, strict=False)
    ]
    return _written(sheet, marks, font, background)


def save_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image as a PNG file, beside its name first and then renamed.

    Args:
        path: of the file; one that is there is replaced.
        image: uint8 [H, W, 1 or 3], such as `image_sheet` returns.

    Raises:
        InputError: an array that is no such image.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sheet.png"
    >>> save_png(path, np.zeros((2, 2, 3), np.uint8))
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    replace(path, png(checked_image(image)))


def checked_image(image: np.ndarray) -> np.ndarray:
    """Return the array if it is one image.

    Raises:
        InputError: it is not uint8 [H, W, 1 or 3] with a pixel at least.

    >>> checked_image(np.zeros((2, 2, 3), np.uint8)).shape
    (2, 2, 3)
    """
    image = np.asarray(image)
    right = image.ndim == 3 and image.shape[-1] in (1, 3) and image.size
    if image.dtype != np.uint8 or not right:
        raise InputError(
            "a picture must be uint8 [H, W, 1 or 3]; got "
            f"{image.dtype} {image.shape}: make a grid of them with image_sheet"
        )
    return image


def _check(
    images: np.ndarray,
    scale: int | None,
    gap: int,
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
) -> None:
    right = images.ndim == 5 and images.shape[-1] in (1, 3) and images.size
    if images.dtype != np.uint8 or not right:
        raise InputError(
            "images of a sheet must be uint8 [R, C, H, W, 1 or 3]; got "
            f"{images.dtype} {images.shape}: scale them to 0 to 255 and stack rows"
        )
    for name, labels, count in (
        ("row", row_labels, images.shape[0]),
        ("column", column_labels, images.shape[1]),
    ):
        if labels is not None and len(labels) != count:
            raise InputError(
                f"{name}_labels must name each of {count} {name}s; got {len(labels)}: "
                "give one each, or None"
            )
    if gap < 0 or (scale is not None and scale < 1):
        raise InputError(
            f"gap must be 0 or more and scale 1 or more; got {gap} and {scale}: leave "
            "them out for the usual ones"
        )


def _font() -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(TEXT_HEIGHT)


def _extent(texts: Sequence[str], font: "FreeTypeFont | ImageFont") -> tuple[int, int]:
    """Return the pixels that texts need, room around them included; none need none."""
    if not any(texts):
        return 0, 0
    lines = [line for text in texts for line in text.splitlines()]
    most = max(len(text.splitlines()) for text in texts)
    width = max(font.getlength(line) for line in lines)
    return int(np.ceil(width)) + 2 * PADDING, round(1.2 * TEXT_HEIGHT * most) + PADDING


def _fitted(text: str, width: int, font: "FreeTypeFont | ImageFont") -> str:
    """Return a text in lines no wider than a column."""
    lines = [""]
    for word in text.split():
        if font.getlength(f"{lines[-1]} {word}".strip()) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        whole = word
        while word and font.getlength(word if word == whole else word + "…") > width:
            word = word[:-1]
        lines.append(word if word == whole else word + "…")
    return "\n".join(filter(None, lines))


def _written(
    sheet: np.ndarray,
    marks: list[Mark],
    font: "FreeTypeFont | ImageFont",
    background: Background,
) -> np.ndarray:
    from PIL import Image, ImageDraw

    if not marks:
        return sheet
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    bright = np.dot(background, (0.299, 0.587, 0.114)) > 127
    fill = (35, 46, 57) if bright else (228, 233, 238)
    for text, place, anchor, align in marks:
        draw.multiline_text(
            place, text, fill, font=font, anchor=anchor, align=align, spacing=3
        )
    return np.array(image)
