"""ETH-80: eight categories of ten objects from 41 views each, as raw photographs.

With it every claim about pairs can be checked, as category, object and view are known.
A seed is a view; the other end of its track is the same object some degrees on.
"""

import os
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lars_jax.data.decode import decode_image
from lars_jax.errors import InputError, naming

ARRAYS = ("data", "ends", "label", "object", "elevation", "azimuth", "categories")
"""Names of the arrays in the file."""

DAMAGE = (ValueError, EOFError, zlib.error, zipfile.BadZipFile, tokenize.TokenError)
"""What the parts of an archive raise that are damaged, each its own."""

RING = 90
"""Elevation in degrees at which objects were turned by 22.5 degrees at a time."""

ROUNDED = 1.0
"""Degrees by which angles in the file, which are whole numbers, may be off."""


@dataclass(frozen=True)
class Eth80:
    """Photographs of objects from many sides.

    Attributes:
        images: uint8 [N, H, W, 3], RGB.
        label: int32 [N], the category.
        thing: int32 [N], the object, another number for each of all.
        elevation: int32 [N], degrees from above the object, 90 beside it.
        azimuth: int32 [N], degrees around it.
        categories: names of the categories.
    """

    images: np.ndarray
    label: np.ndarray
    thing: np.ndarray
    elevation: np.ndarray
    azimuth: np.ndarray
    categories: tuple[str, ...]

    def take(self, some: np.ndarray) -> "Eth80":
        """Return some of the photographs.

        Args:
            some: int or bool [N], as an index.
        """
        return Eth80(
            self.images[some],
            self.label[some],
            self.thing[some],
            self.elevation[some],
            self.azimuth[some],
            self.categories,
        )


def read_eth80(path: str | os.PathLike[str]) -> Eth80:
    """Read photographs from a `.npz` file.

    It has `data`, uint8, the JPEG files one after another; `ends`, where each ends;
    `label`, `object` within its category, `elevation` and `azimuth` of each, and the
    names of the `categories`.

    Raises:
        InputError: not such a file, or photographs of several sizes.
        FileError: the system refuses to have it read.
    """
    arrays = _arrays(Path(path))
    data, ends = arrays["data"], arrays["ends"].astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    images = [
        decode_image(data[start:end].tobytes(), channels=3, where=f"{path}, image {i}")
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) != 1:
        raise InputError(
            f"photographs must be of one size; {path} has {sizes[:3]}: resize them"
        )
    label, own = (arrays[name].astype(np.int32) for name in ("label", "object"))
    return Eth80(
        np.stack(images),
        label,
        label * (own.max() + 1) + own,
        arrays["elevation"].astype(np.int32),
        arrays["azimuth"].astype(np.int32),
        tuple(arrays["categories"].tolist()),
    )


def turned(photographs: Eth80, degrees: float) -> np.ndarray:
    """Return which photograph shows the same object some degrees on, int64 [N].

    It is one of the same elevation; -1 where there is none, as for views from above.

    Args:
        photographs: of objects.
        degrees: around the object; 67.5 is three steps of the ring at elevation 90.

    >>> images, same = np.zeros((4, 1, 1, 3), np.uint8), np.zeros(4, np.int32)
    >>> azimuth = np.array([0, 68, 135, 338])
    >>> print(turned(Eth80(images, same, same, same, azimuth, ("cup",)), 67.5))
    [ 1  2 -1 -1]
    """
    found = np.full(len(photographs.label), -1, np.int64)
    places = np.stack([photographs.thing, photographs.elevation], axis=1)
    for place in np.unique(places, axis=0):
        some = np.flatnonzero((places == place).all(axis=1))
        azimuth = photographs.azimuth[some]
        off = (azimuth[:, None] + degrees - azimuth) % 360
        off = np.minimum(off, 360 - off)
        nearest = off.argmin(axis=1)
        right = (off.min(axis=1) <= ROUNDED) & (nearest != np.arange(len(some)))
        found[some[right]] = some[nearest[right]]
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with naming(path, "read"):
        try:
            # NumPy leaves a file that it opened itself open where it is cut off.
            with path.open("rb") as file, np.lib.npyio.NpzFile(file) as archive:
                arrays = {name: archive[name] for name in ARRAYS if name in archive}
        except DAMAGE as error:
            raise _not_eth80(path, "no archive of arrays") from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise _not_eth80(path, f"no {', '.join(missing)}")
    ends, count = arrays["ends"], len(arrays["ends"])
    for name in ARRAYS[2:-1]:
        if arrays[name].shape != (count,):
            raise _not_eth80(path, f"{name} of {list(arrays[name].shape)} for {count}")
        if arrays[name].dtype.kind not in "iu":
            raise _not_eth80(path, f"{name} of {arrays[name].dtype}, no whole numbers")
    if not count or (np.diff(ends, prepend=0) <= 0).any():
        raise _not_eth80(path, "ends that do not ascend")
    if ends[-1] != len(arrays["data"]):
        raise _not_eth80(path, f"{len(arrays['data'])} bytes that end at {ends[-1]}")
    labels, categories = arrays["label"], len(arrays["categories"])
    if labels.min() < 0 or labels.max() >= categories:
        ends = f"{labels.min()} to {labels.max()}"
        raise _not_eth80(path, f"labels {ends} for {categories} categories")
    return arrays


def _not_eth80(path: Path, why: str) -> InputError:
    return InputError(
        f"an ETH-80 file must have {', '.join(ARRAYS)}; {path} has {why}: name another "
        "file, or fetch it again"
    )
