"""Images: what a network got wrong, sheets of samples, and files that hold them."""

import base64
import io
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lars_jax.errors import InputError

LEGIBLE = 64
"""Pixels of the longer side to which a small image is enlarged at least."""

GAP = 2
"""Pixels between two images and around all."""

TEXT_HEIGHT, LETTER = 13, 7
"""Pixels of a letter's height, lines apart by a fifth more, and of its usual width."""

PADDING = 8
"""Pixels between a label and what it labels."""

INK = (35, 46, 57)
"""Colour of letters on white."""


@dataclass(frozen=True)
class Mistakes:
    """M examples whose prediction is not their label.

    Attributes:
        image: uint8 [M, H, W, C], C is 1 or 3; as the evaluation saw it, 0 to 255.
        label: int32 [M].
        prediction: int32 [M].
        confidence: float32 [M], probability that the network gave its prediction.
        index: int32 [M], number of the example in its split.
        class_names: name of each class; a class without one goes by its number.

    Raises:
        InputError: arrays that do not belong together.

    >>> empty = np.zeros(0, np.int32)
    >>> len(Mistakes(np.zeros((0, 8, 8, 1), np.uint8), empty, empty, empty, empty))
    0
    """

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    index: np.ndarray
    class_names: tuple[str, ...] = ()

    def __post_init__(self):
        image, shape = self.image, (len(self.image),)
        if not _is_image(image, 4):
            raise InputError(
                "images of mistakes must be uint8 [M, H, W, 1 or 3]; got "
                f"{image.dtype} {image.shape}: stack them before they are normalised"
            )
        for name in ("label", "prediction", "confidence", "index"):
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"{name} of mistakes must have one entry an image, shape {shape}; "
                    f"got {getattr(self, name).shape}: select both alike"
                )

    def __len__(self) -> int:
        return len(self.image)

    def name(self, label: int) -> str:
        """Return what a class is called."""
        known = 0 <= label < len(self.class_names)
        return self.class_names[label] if known else str(label)


def image_sheet(
    images: np.ndarray,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> np.ndarray:
    """Return a grid of images as one image, each pixel of them a square of pixels.

    The squares are the smallest that make the longer side of an image 64 pixels. Row
    labels stand on the left, upright, and may have several lines. Column labels stand
    above, in as many lines as their column's width asks for.

    Args:
        images: uint8 [R, C, H, W, 1 or 3], 0 to 255.
        row_labels: R texts.
        column_labels: C texts.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: images of another shape or type, none of them, or a number of
            labels that is not that of the rows or columns.

    >>> sheet = image_sheet(np.zeros((2, 3, 4, 4, 1), np.uint8))
    >>> sheet.shape, sheet[:3, 2, 0].tolist()
    ((134, 200, 3), [255, 255, 0])
    """
    from PIL import Image, ImageDraw

    images = np.asarray(images)
    _check_sheet(images, row_labels, column_labels)
    rows, columns, height, width, _ = images.shape
    scale = max(1, -(-LEGIBLE // max(height, width)))
    height, width = scale * height + GAP, scale * width + GAP
    heads = [textwrap.fill(head, width // LETTER) for head in column_labels or ()]
    left, top = _extent(row_labels or ())[0], _extent(heads)[1]
    shape = (top + GAP + rows * height, left + GAP + columns * width, 3)
    sheet = np.full(shape, 255, np.uint8)
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    for row, column in np.ndindex(rows, columns):
        y, x = top + GAP + row * height, left + GAP + column * width
        sheet[y : y + height - GAP, x : x + width - GAP] = large[row, column]
    drawing = Image.fromarray(sheet)
    write = ImageDraw.Draw(drawing).multiline_text
    style = {"fill": INK, "font": _font(), "spacing": 3}
    for row, label in enumerate(row_labels or ()):
        place = (left - PADDING, top + GAP / 2 + (row + 0.5) * height)
        write(place, label, anchor="rm", align="right", **style)
    for column, label in enumerate(heads):
        place = (left + GAP / 2 + (column + 0.5) * width, top - PADDING / 2)
        write(place, label, anchor="md", align="center", **style)
    return np.array(drawing)


def save_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image as a PNG file, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        image: uint8 [H, W, 1 or 3], such as `image_sheet` returns.

    Raises:
        InputError: an array that is no such image.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sheet.png"
    >>> save_png(path, np.zeros((2, 2, 3), np.uint8))
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    replace_file(path, _png(image))


def image_uri(image: np.ndarray) -> str:
    """Return an image as a `data:` address that holds it as PNG.

    Args:
        image: uint8 [H, W, 1 or 3].

    Raises:
        InputError: an array that is no such image.

    >>> image_uri(np.zeros((2, 2, 1), np.uint8))[:22]
    'data:image/png;base64,'
    """
    return f"data:image/png;base64,{base64.b64encode(_png(image)).decode()}"


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file beside its name, then rename it: nobody meets half of it.

    Args:
        path: of the file; one that is there is replaced.
        content: the whole of it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _png(image: np.ndarray) -> bytes:
    """Return an image as a PNG file; the same pixels give the same bytes."""
    from matplotlib.image import imsave

    image = np.asarray(image)
    if not (_is_image(image, 3) and image.size):
        raise InputError(
            "a picture must be uint8 [H, W, 1 or 3]; got "
            f"{image.dtype} {image.shape}: make a grid of them with image_sheet"
        )
    file = io.BytesIO()
    colours = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    imsave(file, colours, format="png", metadata={"Software": ""})
    return file.getvalue()


def _is_image(image: np.ndarray, axes: int) -> bool:
    right = image.ndim == axes and image.shape[-1] in (1, 3)
    return right and image.dtype == np.uint8


def _check_sheet(
    images: np.ndarray,
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
) -> None:
    if not (_is_image(images, 5) and images.size):
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


def _font():
    from PIL import ImageFont

    return ImageFont.load_default(TEXT_HEIGHT)


def _extent(texts: Sequence[str]) -> tuple[int, int]:
    """Return the pixels that texts need, room around them included; none need none."""
    if not any(texts):
        return 0, 0
    width = max(_font().getlength(line) for text in texts for line in text.splitlines())
    lines = max(len(text.splitlines()) for text in texts)
    return int(np.ceil(width)) + 2 * PADDING, round(1.2 * TEXT_HEIGHT * lines) + PADDING
