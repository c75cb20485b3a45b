"""From image files to arrays: decoding, resizing, random resized crops.

Pillow does all of it but for the usual JPEG file, whose pixels simplejpeg decodes, at a
smaller scale where no more is needed.
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np

from lars_jax.data.order import CROP, random_bits
from lars_jax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

CROP_AREA = (0.08, 1.0)
"""Share of the image that a random resized crop covers (Szegedy et al. 2015, 6)."""

CROP_ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random resized crop (Szegedy et al. 2015, section 6)."""

CROP_ATTEMPTS = 10
"""Draws before the centre is taken, as torchvision has them."""

BACKGROUND = (255, 255, 255)
"""What shows where an image is transparent: white, as on a page."""

# It warns of damaged tags and large images, of which nothing is to be done, and threads
# that decode cannot each have filters of their own.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Pillow reads these and would clip them to 255 instead of scaling them.
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


Fit = Literal["warp", "short_side"]
"""How an image of any shape becomes a square: the whole of it, its aspect ratio lost,
or its middle, once its short side has the length."""


def decode_image(
    data: bytes | BinaryIO,
    *,
    channels: int,
    where: str,
    size: int | None = None,
    fit: Fit = "warp",
) -> np.ndarray:
    """Decode an image file to 8-bit grey or RGB, the way it is meant to be seen.

    It is turned as the orientation tag of its camera says, and what is transparent is
    laid on white. Of an animation the first picture counts, of 16 bits of a colour the
    upper eight.

    Args:
        data: the contents of an image file, or the open file.
        channels: 1 for grey, 3 for RGB.
        where: what to call the image in an error.
        size: height and width that it is resized to, as by `resize_image`, but that a
            JPEG file is decoded no larger than that needs; None: it keeps its own.
        fit: how it is resized.

    Returns:
        uint8 [H, W, channels], read-only.

    Raises:
        InputError: not a readable image, more than 8 bits of grey, or more pixels than
            Pillow takes for safe, 179 million.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGBA", (3, 2), (255, 0, 0, 51)).save(file, "PNG")
    >>> decode_image(file.getvalue(), channels=3, where="a test")[0, 0].tolist()
    [255, 204, 204]
    """
    with _opened(data, where) as image:
        if image.mode in _DEEP_MODES:
            raise InputError(
                f"An image must have 8 bits a channel; {where} has mode {image.mode}: "
                "convert it."
            )
        seen = _jpeg(image, data, size) or _whole(_opaque(_upright(image)))
        mode = "L" if channels == 1 else "RGB"
        seen = seen._replace(picture=seen.picture.convert(mode))
        pixels = np.asarray(seen.picture if size is None else _resized(seen, size, fit))
    return pixels[..., None] if channels == 1 else pixels


def image_size(data: bytes | BinaryIO, *, where: str) -> tuple[int, int]:
    """Return height and width that an image will have, from its header alone.

    Args:
        data: the contents of an image file, or the open file.
        where: what to call the image in an error.

    Raises:
        InputError: as `decode_image`.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2)).save(file, "PNG")
    >>> image_size(file.getvalue(), where="a test")
    (2, 3)
    """
    with _opened(data, where) as image:
        width, height = image.size
        turned = _orientation(image) in _ACROSS
        return (width, height) if turned else (height, width)


_ORIENTATION = 0x0112
_ACROSS, _FROM_RIGHT, _FROM_BOTTOM = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
"""Values of that tag with which rows become columns, and with which the first column or
row of those that are stored is seen last."""


class _Seen(NamedTuple):
    """An image as it is seen, and where in its pixels the image lies."""

    picture: "Image.Image"
    height: int
    width: int
    scale: float
    """Pixels of the picture for each of the file's."""
    left: float
    top: float


def _whole(picture: "Image.Image") -> _Seen:
    return _Seen(picture, picture.height, picture.width, 1.0, 0.0, 0.0)


_SCALES = (1, 2, 3, 4, 5, 6, 8)
"""Eighths of its size that a JPEG file is decoded at. Seven take longer than eight, for
which libjpeg-turbo has vector instructions, and save little of the resizing."""


def _jpeg(
    image: "Image.Image", data: bytes | BinaryIO, size: int | None
) -> _Seen | None:
    """Return a usual JPEG file as it is seen, None of any other or a damaged one.

    Neither of its sides is shorter than `size`, unless the file's own is. Where eighths
    are no whole pixels, the last column and row of those that are stored hold what lies
    beyond the image, too.
    """
    if image.format != "JPEG" or image.mode not in ("L", "RGB"):
        return None
    import simplejpeg
    from PIL import Image

    orientation, (width, height) = _orientation(image), image.size
    scale = 1.0 if size is None else size / min(image.size)
    eighths = next((one for one in _SCALES if one >= 8 * scale), 8)
    # As Pillow keeps its pixels, which saves a copy of them.
    form = "L" if image.mode == "L" else "RGBX"
    try:
        pixels = simplejpeg.decode_jpeg(
            data if isinstance(data, bytes) else _contents(data),
            "GRAY" if form == "L" else form,
            min_height=-(-height * eighths // 8),
            min_width=-(-width * eighths // 8),
        )
    # Pillow knows what may be forgiven, and says what may not.
    except ValueError:
        return None
    sides = pixels.shape[1::-1]
    picture = Image.frombuffer(image.mode, sides, pixels, "raw", form, 0, 1)
    if orientation != 1:
        picture.getexif()[_ORIENTATION] = orientation
    picture = _upright(picture)
    scale = eighths / 8
    if orientation in _ACROSS:
        width, height = height, width
    left = picture.width - width * scale if orientation in _FROM_RIGHT else 0.0
    top = picture.height - height * scale if orientation in _FROM_BOTTOM else 0.0
    return _Seen(picture, height, width, scale, left, top)


def _contents(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


@contextlib.contextmanager
def _opened(data: bytes | BinaryIO, where: str) -> Iterator["Image.Image"]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            yield image
    except InputError:
        raise
    # Pillow names the object in memory here, which tells nobody anything.
    except UnidentifiedImageError as error:
        raise _unreadable(where, "no image file that Pillow knows") from error
    # Pillow's plugins raise nearly everything on files that are cut short or damaged.
    except Exception as error:
        raise _unreadable(where, str(error) or type(error).__name__) from error


def _orientation(image: "Image.Image") -> int:
    # To look for a late tag Pillow would decode the whole of a PNG; TIFFs it turns.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    # A camera's damaged tags do not make its picture worse.
    with contextlib.suppress(Exception):
        return image.getexif().get(_ORIENTATION, 1)
    return 1


def _upright(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _unreadable(where: str, why: str) -> InputError:
    return InputError(
        f"An image must be readable; {where} is not ({why}): replace or delete it."
    )


def _opaque(image: "Image.Image") -> "Image.Image":
    if not image.has_transparency_data:
        return image
    from PIL import Image

    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, BACKGROUND), seen)


def resize_image(image: np.ndarray, size: int, *, fit: Fit = "warp") -> np.ndarray:
    """Resize an image to a square, by antialiased bilinear filtering.

    Caffe's AlexNet is trained and evaluated on images warped to 256 by 256 pixels, and
    so is the paper's. torchvision, timm and MLPerf evaluate the middle of images whose
    short side has 256 pixels.

    Args:
        image: uint8 [H, W, C], C = 1 or 3.
        size: height and width of the result in pixels.
        fit: all of it, or the middle square once the short side is `size` long.

    Returns:
        uint8 [size, size, C]; the same array where there is nothing to do.

    Raises:
        InputError: a size below 1, or neither 1 nor 3 channels.

    >>> ramp = np.repeat(np.uint8([[[0], [100], [200]]]), 2, axis=0)
    >>> resize_image(ramp, 1).item(), resize_image(ramp[:, :2], 1).item()
    (100, 50)
    >>> resize_image(ramp, 2, fit="short_side")[0, :, 0].tolist()
    [0, 100]
    """
    from PIL import Image

    if size < 1 or image.shape[-1] not in (1, 3):
        raise InputError(
            "Resizing takes 1 or 3 channels to a size >= 1, got "
            f"{image.shape[-1]} to {size}; correct them."
        )
    if image.shape[:2] == (size, size):
        return image
    grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    pixels = np.asarray(_resized(_whole(picture), size, fit))
    return pixels[..., None] if grey else pixels


def _resized(seen: _Seen, size: int, fit: Fit) -> "Image.Image":
    from PIL import Image

    picture, height, width, scale, x, y = seen
    box = 0.0, 0.0, float(width), float(height)
    if fit == "short_side":
        box = _middle_box(height, width, size)
    left, top, right, bottom = (scale * place for place in box)
    # Sums may round to a little more than the picture.
    right, bottom = min(x + right, picture.width), min(y + bottom, picture.height)
    box = (x + left, y + top, right, bottom)
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _middle_box(
    height: int, width: int, size: int
) -> tuple[float, float, float, float]:
    """Return the part of an image that is cut out of it once it is resized.

    Resizing that part alone gives the same pixels for less work: the filter reaches
    beyond a box. Lengths and places are rounded as torchvision rounds them.

    >>> _middle_box(100, 200, 50)
    (50.0, 0.0, 150.0, 100.0)
    """
    short = min(height, width)
    sides = [(length, size * length // short) for length in (width, height)]
    # From whole pixels of the resized image back to those of this one.
    left, top = (
        round((resized - size) / 2) * length / resized for length, resized in sides
    )
    across, down = (size * length / resized for length, resized in sides)
    return left, top, min(left + across, width), min(top + down, height)


def crop_box(
    height: int, width: int, *, seed: int, epoch: int, example: int
) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop ("Inception crop").

    Its area is uniform in 8 .. 100 % of the image, the logarithm of its aspect ratio
    uniform in 3/4 .. 4/3, its place uniform. A draw that does not fit is drawn again,
    ten times at most; then the largest central box of a permitted aspect is taken.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        seed: seed of the run.
        epoch: number of the epoch.
        example: index of the example in its source.

    Returns:
        left, top, right, bottom: whole pixels.

    Reference:
        Szegedy et al. 2015, "Going deeper with convolutions", arXiv 1409.4842, 6.

    >>> crop_box(100, 200, seed=0, epoch=0, example=0)
    (63, 38, 119, 92)
    """
    words = random_bits(
        4 * CROP_ATTEMPTS, seed=seed, epoch=epoch, example=example, purpose=CROP
    )
    # The upper 53 bits of a word are a double in [0, 1).
    draws = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    low, high = CROP_AREA
    narrow, wide = (math.log(aspect) for aspect in CROP_ASPECT)
    for area, log_aspect, top, left in draws.reshape(-1, 4).tolist():
        area = height * width * (low + (high - low) * area)
        aspect = math.exp(narrow + (wide - narrow) * log_aspect)
        box_width = round(math.sqrt(area * aspect))
        box_height = round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = math.floor(left * (width - box_width + 1))
            top = math.floor(top * (height - box_height + 1))
            return (left, top, left + box_width, top + box_height)
    return _central_box(height, width)


def _central_box(height: int, width: int) -> tuple[int, int, int, int]:
    narrow, wide = CROP_ASPECT
    box_width = min(width, max(1, round(height * wide)))
    box_height = min(height, max(1, round(width / narrow)))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return (left, top, left + box_width, top + box_height)
