"""Images: what a network got wrong, sheets of samples, and files that hold them."""

import base64
import io
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lars_jax.errors import InputError
from lars_jax.files import replacing

LEGIBLE = 64  # Pixels of the longer side to which a small image is enlarged.
GAP = 2  # Pixels between two images and around all.
TEXT_HEIGHT = 13  # Pixels of a letter; lines are apart by a fifth more.
LETTER = 7  # Pixels of a letter's usual width.
PADDING = 8  # Pixels between a label and what it labels.
INK = (35, 46, 57)  # Colour of letters on white.


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
        if len(self.image):
            remedy = "stack them before they are normalised"
            _check_images(self.image, "images of mistakes", "M, H, W", remedy)
        shape = (len(self.image),)
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
    from PIL import Image, ImageDraw, ImageFont

    images = np.asarray(images)
    remedy = "scale them to 0 to 255 and stack rows"
    _check_images(images, "images of a sheet", "R, C, H, W", remedy)
    rows, columns, height, width, _ = images.shape
    check_names("row_labels", row_labels, rows)
    check_names("column_labels", column_labels, columns)
    row_labels = row_labels or ()
    scale = max(1, -(-LEGIBLE // max(height, width)))
    height, width = scale * height + GAP, scale * width + GAP
    heads = [textwrap.fill(head, width // LETTER) for head in column_labels or ()]
    font = ImageFont.load_default(TEXT_HEIGHT)
    left = top = 0
    if any(row_labels):
        lines = [line for label in row_labels for line in label.splitlines()]
        left = 2 * PADDING + int(np.ceil(max(map(font.getlength, lines))))
    if any(heads):
        lines = 1 + max(head.count("\n") for head in heads)
        top = PADDING + round(1.2 * TEXT_HEIGHT * lines)
    shape = (top + GAP + rows * height, left + GAP + columns * width, 3)
    sheet = np.full(shape, 255, np.uint8)
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    for row, column in np.ndindex(rows, columns):
        y, x = top + GAP + row * height, left + GAP + column * width
        sheet[y : y + height - GAP, x : x + width - GAP] = large[row, column]
    drawing = Image.fromarray(sheet)
    write = ImageDraw.Draw(drawing).multiline_text
    style = {"fill": INK, "font": font, "spacing": 3}
    for row, label in enumerate(row_labels):
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

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sheet.png"
    >>> save_png(path, np.zeros((2, 2, 3), np.uint8))
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    with replacing(path) as temporary:
        temporary.write_bytes(_png(image))


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


def check_names(option: str, names: Sequence[str] | None, count: int) -> None:
    """Refuse names, given as `row_names` or the like, that are not one each."""
    if names is not None and len(names) != count:
        raise InputError(
            f"{option} must name each of {count} {option.partition('_')[0]}s; got "
            f"{len(names)}: give one each, or None"
        )


def _png(image: np.ndarray) -> bytes:
    """Return an image as a PNG file; the same pixels give the same bytes."""
    from PIL import Image

    remedy = "make a grid of them with image_sheet"
    _check_images(image, "a picture", "H, W", remedy)
    file = io.BytesIO()
    grey = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if grey else image).save(file, "png")
    return file.getvalue()


def _check_images(images: np.ndarray, what: str, axes: str, remedy: str) -> None:
    right = images.dtype == np.uint8 and images.ndim == axes.count(",") + 2
    if not (right and images.size and images.shape[-1] in (1, 3)):
        raise InputError(
            f"{what} must be uint8 [{axes}, 1 or 3]; got {images.dtype} "
            f"{images.shape}: {remedy}"
        )
