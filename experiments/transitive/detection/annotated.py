"""What detection is trained on and scored by: pictures, their objects, detections.

A box is [x1, y1, x2, y2] in continuous coordinates of the picture: x1 is the left edge
of its first pixel, x2 the right edge of its last, and its width x2 - x1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lars_jax.data.decode import decode_image, image_size
from lars_jax.data.fingerprint import Fingerprint, digest_array, digest_files
from lars_jax.errors import InputError, naming

TOLERANCE = 1.0
"""Pixels that a box may lie outside its picture, as tools that count from 0 or from 1
write them; it is then clipped."""


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects of a picture.

    Attributes:
        boxes: float32 [N, 4].
        classes: int32 [N], each an index into the names of the classes.
        difficult: bool [N], those that count neither for nor against a detector.
    """

    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Picture(Objects):
    """A picture in a file, and its objects, of which there may be none.

    Attributes:
        path: of the file.
        height: in pixels, the way it is meant to be seen.
        width: in pixels.
    """

    path: Path
    height: int
    width: int

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """Pictures with objects of named classes.

    Attributes:
        pictures: in the order of the list that names them.
        class_names: the class of an object is an index into them.
        root: folder that all pictures are in, at any depth.
        notes: what there is to say to their user.
    """

    pictures: tuple[Picture, ...]
    class_names: tuple[str, ...]
    root: Path = field(default_factory=Path)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    @property
    def places(self) -> list[str]:
        """Where each picture lies in the folder."""
        return [one.path.relative_to(self.root).as_posix() for one in self.pictures]

    def fingerprint(self) -> Fingerprint:
        """Return what files and objects are known by."""
        parts = digest_files(self.root, self.places)
        for place, picture in zip(self.places, self.pictures, strict=True):
            rows = (picture.boxes.T, picture.classes, picture.difficult)
            objects = np.vstack(rows).astype(np.float64)
            parts[f"objects of {place}"] = digest_array(objects)
        return Fingerprint(len(self), self.class_names, parts)


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What a detector finds in a picture.

    Attributes:
        boxes: float [N, 4].
        scores: float [N], higher where it is more certain.
        classes: int [N].
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def read_pixels(picture: Picture) -> np.ndarray:
    """Return the pixels of a picture, uint8 [H, W, 3].

    Raises:
        InputError: it cannot be read, or is of another size than it was.
    """
    with naming(picture.path, "read"):
        data = picture.path.read_bytes()
    pixels = decode_image(data, channels=3, where=str(picture.path))
    if pixels.shape[:2] != (picture.height, picture.width):
        raise InputError(
            "a picture keeps its size while it is used; got "
            f"{pixels.shape[1]} x {pixels.shape[0]} pixels instead of {picture.width} "
            f"x {picture.height} in {picture.path}: read the annotations again"
        )
    return pixels


def size_on_disk(path: Path) -> tuple[int, int]:
    """Return height and width of a picture, from its header alone.

    Raises:
        InputError: no picture that can be read.
    """
    with naming(path, "read"), path.open("rb") as file:
        return image_size(file, where=str(path))


def check_size(
    said_height: object, said_width: object, height: int, width: int, path: Path
) -> None:
    """Refuse an annotation that is of a picture of another size.

    Its boxes would lie elsewhere, as where the picture has been resized since, or where
    it was annotated before it was turned as its camera says.

    Args:
        said_height: of the annotation; what is no number above 0 counts as not said.
        said_width: of it.
        height: of the picture, the way it is meant to be seen.
        width: of it.
        path: of the picture.

    Raises:
        InputError: they differ.

    >>> check_size(None, 0, 30, 40, Path("a.jpg"))
    """
    known = (isinstance(said_height, int | float) and said_height > 0) and (
        isinstance(said_width, int | float) and said_width > 0
    )
    if known and (said_height, said_width) != (height, width):
        raise InputError(
            "an annotation is of the picture as it is seen; got one of "
            f"{said_width:g} x {said_height:g} pixels for {path}, which has {width} x "
            f"{height}: annotate it anew, or put back the picture that was annotated"
        )


def fit_box(
    box: Sequence[float], *, height: int, width: int, where: str
) -> tuple[float, float, float, float]:
    """Return a box clipped to its picture, outside which it may lie by a pixel.

    Args:
        box: x1, y1, x2, y2.
        height: of the picture.
        width: of the picture.
        where: what to call the box in an error.

    Raises:
        InputError: it has no area, lies further outside, or is not of finite numbers.

    >>> fit_box((-1, 2, 4.5, 11), height=10, width=8, where="a test")
    (0.0, 2.0, 4.5, 10.0)
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    said = f"{x1:g}, {y1:g}, {x2:g}, {y2:g}"
    if not (all(math.isfinite(side) for side in box) and x1 < x2 and y1 < y2):
        raise InputError(
            f"a box has x1 < x2 and y1 < y2; got {said} in {where}: mend the file"
        )
    clipped = (
        max(x1, 0.0),
        max(y1, 0.0),
        min(x2, float(width)),
        min(y2, float(height)),
    )
    beyond = max(abs(a - b) for a, b in zip(clipped, (x1, y1, x2, y2), strict=True))
    if beyond > TOLERANCE or clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise InputError(
            f"a box lies in its picture, here of {width} x {height} pixels, give or "
            f"take {TOLERANCE:g}; got x1, y1, x2, y2 = {said} in {where}: mend the file"
        )
    return clipped


def pack_objects(
    boxes: Sequence[Sequence[float]], classes: Sequence[int], difficult: Sequence[bool]
) -> dict[str, np.ndarray]:
    """Return the arrays of `Objects` by name, of the right shapes where there are none.

    >>> {name: value.shape for name, value in pack_objects([], [], []).items()}
    {'boxes': (0, 4), 'classes': (0,), 'difficult': (0,)}
    """
    return {
        "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
        "classes": np.asarray(classes, np.int32),
        "difficult": np.asarray(difficult, bool),
    }


def check_detections(
    detections: Sequence[Detections], truths: Sequence[Objects], num_classes: int
) -> None:
    """Check that detections and objects can be scored.

    Raises:
        InputError: another number of pictures, arrays of other shapes, numbers that are
            not finite, or classes that there are not.
    """
    if len(detections) != len(truths):
        raise InputError(
            "every picture has detections and objects, or none; got detections of "
            f"{len(detections)} pictures and objects of {len(truths)}: pass an empty "
            "array for a picture that has none"
        )
    for number, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        _check_arrays(found.boxes, found.classes, found.scores, num_classes, number)
        _check_arrays(truth.boxes, truth.classes, truth.difficult, num_classes, number)


def _check_arrays(
    boxes: np.ndarray, classes: np.ndarray, other: np.ndarray, count: int, number: int
) -> None:
    rows = len(boxes)
    if boxes.shape != (rows, 4) or classes.shape != (rows,) or other.shape != (rows,):
        raise InputError(
            "boxes are [N, 4], classes and scores or `difficult` [N]; got "
            f"{list(boxes.shape)}, {list(classes.shape)} and {list(other.shape)} for "
            f"picture {number}: pass as many of each"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(other).all()):
        raise InputError(
            f"boxes and scores are finite; got others for picture {number}: look at "
            "what the detector computes"
        )
    if rows and not (np.issubdtype(classes.dtype, np.integer)):
        raise InputError(
            f"classes are whole numbers; got {classes.dtype} for picture {number}: "
            "convert them"
        )
    if rows and (classes.min() < 0 or classes.max() >= count):
        raise InputError(
            f"classes are 0 to {count - 1}; got {classes.min()} to {classes.max()} "
            f"for picture {number}: leave the background out, or name more classes"
        )
