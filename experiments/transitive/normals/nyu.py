"""NYUv2: 1,449 frames of rooms with depth, packed as picture files in `.npz` archives.

The official labelled file is read by `nyu_mat`. Both give a `Frames`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.transitive.eth80 import DAMAGE
from lars_jax.data.decode import decode_image
from lars_jax.errors import InputError, naming

ARRAYS = ("data", "ends", "index", "split")
"""Names of the arrays in an archive."""

SPLITS = {"train": (0,), "val": (1,), "trainval": (0, 1), "test": (2,)}
"""What `split` says of the frames of each; `trainval` are the official 795."""

STEPS_PER_METRE = 25.5
"""Depth is stored as its whole part in these: 10 m in 255 steps of 39 mm."""


@dataclass(frozen=True)
class Frame:
    """A photograph and its depth.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        depth: float32 [H, W], metres along the optical axis; 0 where it is unknown.
        index: number of the frame in the official file, from 0 on.
    """

    image: np.ndarray
    depth: np.ndarray
    index: int


@dataclass(frozen=True)
class Frames:
    """Frames that are read one at a time, as `frames[i]`.

    Attributes:
        index: int64 [N], number of each in the official file, from 0 on.
        step: metres between the values that depth is stored in; 0 if it is not.
        read: returns the frame at a place.
    """

    index: np.ndarray
    step: float
    read: Callable[[int], Frame]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: int) -> Frame:
        if not 0 <= place < len(self):
            raise IndexError(f"frame {place} of {len(self)}")
        return self.read(place)


def read_nyu(where: str | os.PathLike[str], split: str) -> Frames:
    """Read the frames of a split from an archive, or from all archives of a folder.

    An archive has `data`, uint8, picture files one after another, two for each frame,
    and `ends`, where each ends; the frames' `index` in the official file and `split`,
    0 for training, 1 for validation, 2 for testing. The first picture of a frame is its
    photograph, the second has depth in its first channel. Depth of a value k is taken
    to be (k + 1/2) / 25.5 m, 0 is unknown: values are cut off and not rounded, as the
    largest depth of the set, 9.996 m, is stored as 254.

    Args:
        where: a file or a folder.
        split: `train`, `val`, `trainval` or `test`.

    Returns:
        Frames in the order of their files.

    Raises:
        InputError: no such archive, a split that there is none of, or a frame that is
            in two archives; as a frame is read, a picture that cannot be.
        FileError: the system refuses to have it read.
    """
    if split not in SPLITS:
        raise InputError(
            f"a split is one of {', '.join(SPLITS)}; got {split!r}: set --train-split "
            "and --test-split to two of these"
        )
    path = Path(where)
    found = [_read_archive(file) for file in archives(path)]
    places = [
        (archive, place)
        for archive in found
        for place in np.flatnonzero(np.isin(archive.split, SPLITS[split])).tolist()
    ]
    index = np.array([archive.index[place] for archive, place in places], np.int64)
    _check_frames(index, split, path)
    return Frames(
        index,
        1 / STEPS_PER_METRE,
        lambda place: _read_frame(*places[place]),
    )


def archives(where: Path) -> list[Path]:
    """Return the archives of a folder, sorted by name, or the file itself.

    Args:
        where: a file or a folder.

    Raises:
        InputError: a folder without archives.

    >>> [str(path) for path in archives(Path("some/nyuv2.npz"))]
    ['some/nyuv2.npz']
    """
    files = sorted(where.glob("*.npz")) if where.is_dir() else [where]
    if not files:
        raise InputError(
            f"a folder of NYUv2 holds .npz archives; {where} has none: name another"
        )
    return files


def frame_mask(height: int, width: int) -> np.ndarray:
    """Return which pixels are evaluated: the photograph without its white border.

    Rows 44 to 470 and columns 40 to 600 of 480 and 640, as the set's authors crop it.

    Args:
        height: of the frames, in pixels.
        width: of the frames.

    Returns:
        bool [H, W].

    >>> print(frame_mask(480, 640).sum() == 427 * 561, frame_mask(240, 320).sum())
    True 59640
    """
    mask = np.zeros((height, width), bool)
    rows = slice(-(-44 * height // 480), 471 * height // 480)
    columns = slice(-(-40 * width // 640), 601 * width // 640)
    mask[rows, columns] = True
    return mask


@dataclass(frozen=True)
class _Archive:
    path: Path
    data: np.ndarray
    ends: np.ndarray
    index: np.ndarray
    split: np.ndarray


def _read_archive(path: Path) -> _Archive:
    with naming(path, "read"):
        try:
            # NumPy leaves a file that it opened itself open where it is cut off.
            with path.open("rb") as file, np.lib.npyio.NpzFile(file) as archive:
                arrays = {name: archive[name] for name in ARRAYS if name in archive}
        except DAMAGE as error:
            raise _not_nyu(path, "no archive of arrays") from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise _not_nyu(path, f"no {', '.join(missing)}")
    data, ends, index, split = (arrays[name] for name in ARRAYS)
    for name in ("ends", "index", "split"):
        if arrays[name].ndim != 1 or not np.issubdtype(arrays[name].dtype, np.integer):
            raise _not_nyu(path, f"{name} that are no row of whole numbers")
    if data.dtype != np.uint8 or data.ndim != 1:
        raise _not_nyu(path, "data that are no row of bytes")
    if not len(ends) == 2 * len(index) == 2 * len(split):
        counts = f"{len(ends)} pictures, {len(index)} indices, {len(split)} splits"
        raise _not_nyu(path, counts)
    ends = ends.astype(np.int64)
    if not len(ends) or (np.diff(ends, prepend=0) <= 0).any():
        raise _not_nyu(path, "ends that do not rise")
    if ends[-1] != len(data):
        raise _not_nyu(path, f"{len(data)} bytes that end at {ends[-1]}")
    if split.min() < 0 or split.max() > 2:
        raise _not_nyu(path, f"split {split.min()} to {split.max()} in place of 0 to 2")
    return _Archive(path, data, ends, index, split)


def _read_frame(archive: _Archive, place: int) -> Frame:
    where = f"{archive.path}, frame {place}"
    image, packed = (
        decode_image(_picture(archive, 2 * place + part), channels=3, where=where)
        for part in range(2)
    )
    if image.shape != packed.shape:
        raise InputError(
            "a photograph and its depth have one size; got "
            f"{list(image.shape[:2])} and {list(packed.shape[:2])} in {where}: pack "
            "them again"
        )
    value = packed[..., 0].astype(np.float32)
    depth = np.where(value > 0, (value + 0.5) / np.float32(STEPS_PER_METRE), 0)
    index = int(archive.index[place])
    return Frame(image, depth.astype(np.float32), index)


def _picture(archive: _Archive, number: int) -> bytes:
    start = archive.ends[number - 1] if number else 0
    return archive.data[start : archive.ends[number]].tobytes()


def _check_frames(index: Sequence[int] | np.ndarray, split: str, path: Path) -> None:
    if not len(index):
        raise InputError(
            f"a split has a frame; {path} has none of {split}: set --train-split or "
            "--test-split to another"
        )
    numbers, counts = np.unique(index, return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"a frame is there once; {path} has frame {numbers[counts > 1][0]} twice: "
            "delete one of its archives"
        )


def _not_nyu(path: Path, why: str) -> InputError:
    return InputError(
        f"an NYUv2 archive has {', '.join(ARRAYS)}, two pictures a frame; {path} has "
        f"{why}: name another file, or fetch it again"
    )
