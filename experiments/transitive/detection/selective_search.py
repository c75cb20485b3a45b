"""Boxes that may hold an object, by selective search, kept in files.

OpenCV finds them: a picture is cut into regions of alike colour, and the most alike
neighbours are joined until one is left; the boxes of all regions on the way are
proposals. Its boxes are the same in every run, but their order is drawn from the
generator of the C library, which Python cannot seed. So they are put in order here.

The order counts where fewer boxes are wanted than there are. A random one is fair to
objects of all sizes, where the paper's begins with large ones. Of photographs with one
large animal the first 100 boxes find 95 % of the objects, and would 98 with large ones
first; of frames of a flat, with eight things each, 63 rather than 49 % (intersection
over union of 0.5).
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from experiments.transitive.pool import Check, run_jobs
from experiments.transitive.video import opencv
from lars_jax.data.decode import decode_image
from lars_jax.errors import InputError, naming
from lars_jax.files import make_directory, replacing
from lars_jax.train import Interrupt

Mode = Literal["fast", "quality"]

SHORTEST = 8
"""Pixels of the shorter side to which a picture may be reduced at most."""

VERSION = 1
"""Of what files hold; another one has them made anew."""


@dataclass(frozen=True)
class SearchConfig:
    """How proposals are searched for.

    Attributes:
        mode: `fast` or `quality`, with more colour spaces and more thresholds, which
            takes three times as long for three times as many boxes.
        short_side: pixels that the shorter side of a larger picture is reduced to
            first; 0: none is.
        min_side: pixels that both sides of a box must have, in the picture as it is.
        seed: of the order.
    """

    mode: Mode = "fast"
    short_side: int = 0
    min_side: int = 8
    seed: int = 0


class _Job(NamedTuple):
    picture: Path
    directory: Path
    config: SearchConfig


def selective_search(image: np.ndarray, config: SearchConfig) -> np.ndarray:
    """Return boxes of a picture that may hold an object, all different.

    Args:
        image: uint8 [H, W, 3], red first.
        config: how to search.

    Returns:
        float32 [N, 4], x1, y1, x2, y2 in pixels of `image`, in random order: the
        first boxes are those to keep where fewer are wanted. The same for the same
        pixels and configuration, in every process.

    Raises:
        InputError: another configuration, shape or type, or no OpenCV with its extra
            modules.

    Reference:
        Uijlings et al.: Selective Search for Object Recognition, 2013, Section 3.

    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> image[10:30, 20:50] = 255
    >>> boxes = selective_search(image, SearchConfig())
    >>> bool((boxes == [20, 10, 50, 30]).all(axis=1).any())
    True
    """
    _check(image, config)
    height, width = image.shape[:2]
    found = _search(_reduced(image, config.short_side), config.mode)
    # From the reduced picture to the whole.
    boxes = found * np.array([width, height, width, height], np.float64)
    boxes = np.unique(boxes.astype(np.float32), axis=0)
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= min(config.min_side, height, width)).all(axis=1)]
    return boxes[np.random.default_rng(config.seed).random(len(boxes)).argsort()]


def find_proposals(
    pictures: Sequence[Path],
    directory: Path,
    config: SearchConfig,
    *,
    count: int,
    interrupt: Interrupt,
    processes: int = 1,
) -> list[np.ndarray]:
    """Return proposals of pictures, from files where they are there already.

    A file is known by the bytes of its picture and by the configuration, whatever the
    picture is called. Each is written whole or not at all: what an end of the process
    leaves undone is done the next time.

    Args:
        pictures: paths of image files.
        directory: of the files, made where it is not there.
        config: how to search.
        count: how many proposals of each picture at most, the first; files have
            all.
        interrupt: ends the search on a signal.
        processes: how many work at a time.

    Returns:
        float32 [N, 4] for each picture.

    Raises:
        Interrupted: a signal came.
        InputError: what `selective_search` refuses, a count below 1, a picture that
            cannot be read, or a directory that cannot be written.
    """
    if count < 1:
        raise InputError(f"a picture has a proposal at least; got {count}: set more")
    make_directory(directory)
    jobs = [_Job(picture, directory, config) for picture in pictures]
    paths = run_jobs(
        _find,
        jobs,
        processes=processes,
        interrupt=interrupt,
        crashed=_crashed,
        title="selective search",
        unit="picture",
    )
    return [_read(path)[:count] for path in paths]


def _find(job: _Job, check: Check) -> Path:
    """Write the proposals of a picture, where they are not there, and say where."""
    check()
    with naming(job.picture, "read"):
        data = job.picture.read_bytes()
    path = job.directory / f"{_digest(data, job.config)}.npy"
    if path.exists() and _is_whole(path):
        return path
    pixels = decode_image(data, channels=3, where=str(job.picture))
    file = io.BytesIO()
    np.save(file, selective_search(pixels, job.config), allow_pickle=False)
    with replacing(path) as temporary:
        temporary.write_bytes(file.getvalue())
    return path


def _crashed(job: _Job) -> Path:
    raise InputError(
        f"a picture can be searched for proposals; got {job.picture}, which ended the "
        "process: allow it more memory, or take the picture out"
    )


def _digest(data: bytes, config: SearchConfig) -> str:
    settings = {"version": VERSION, "opencv": opencv().__version__, **asdict(config)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(b"\0" + data)
    return digest.hexdigest()[:40]


def _is_whole(path: Path) -> bool:
    # A file that something else has cut short is made anew.
    try:
        found = _read(path)
    except (ValueError, EOFError):
        return False
    return found.dtype == np.float32 and found.ndim == 2 and found.shape[1] == 4


def _read(path: Path) -> np.ndarray:
    with naming(path, "read"):
        return np.load(path, allow_pickle=False)


def _check(image: np.ndarray, config: SearchConfig) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            "a picture is uint8 [H, W, 3]; got "
            f"{image.dtype} {list(image.shape)}: convert it"
        )
    side = config.short_side
    known = config.mode in get_args(Mode)
    if not known or config.min_side < 1 or (side and side < SHORTEST):
        raise InputError(
            "selective search has mode fast or quality, min_side >= 1 and short_side 0 "
            f"or >= {SHORTEST}; got {config}: correct it"
        )


def _reduced(image: np.ndarray, short_side: int) -> np.ndarray:
    from PIL import Image

    height, width = image.shape[:2]
    if not short_side or min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _search(image: np.ndarray, mode: Mode) -> np.ndarray:
    """Return the boxes that OpenCV finds, as shares of width and height."""
    cv2 = opencv()
    try:
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    except AttributeError as error:
        raise InputError(
            "selective search is in OpenCV's extra modules; they are not installed: "
            "pip install -e '.[video]'"
        ) from error
    search.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    found = np.asarray(search.process(), np.float64).reshape(-1, 4)
    height, width = image.shape[:2]
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    return corners / np.array([width, height, width, height])
