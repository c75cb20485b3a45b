"""Raw video: which files hold it, and their frames one after another.

OpenCV is imported where a video is opened, so that nothing here costs a command that
opens none. Whatever lies in a folder, a `VideoError` is all that comes of a file that
cannot be used: whoever goes through many files counts it and goes on.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from lars_jax.data import Fingerprint
from lars_jax.data.fingerprint import digest_files
from lars_jax.data.scan import scan_files
from lars_jax.errors import InputError
from lars_jax.files import local_path

SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif"),
        *(".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4"),
        *(".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm"),
        *(".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    }
)
"""Names of video files end so, in upper or lower case; other files are passed over."""

SMALLEST = 32
"""Pixels of the shorter side below which a frame shows nothing to be tracked."""

LARGEST = 2**26
"""Pixels beyond which a frame is not decoded: 8K has half as many."""

PATIENCE = 10_000
"""Milliseconds that a file system may take to open a video, or to read on in it."""

BINS = 8
"""Bins of each colour in the histograms that show a cut."""


class VideoError(Exception):
    """A file that cannot be used; the message says why, in a few words."""


@dataclass(frozen=True)
class Videos:
    """The videos in a folder.

    Attributes:
        root: the folder.
        names: path of every video in it, sorted.
        passed_over: how many files and folders were, by reason.
    """

    root: Path
    names: tuple[str, ...]
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """Path of every video."""
        return tuple(self.root / name for name in self.names)

    def fingerprint(self) -> Fingerprint:
        """Return what the videos are known by: paths, sizes and contents."""
        return Fingerprint(len(self.names), (), digest_files(self.root, self.names))


def find_videos(folder: str | os.PathLike[str]) -> Videos:
    """Return the videos in a folder, at any depth, sorted by path.

    Hidden files, other files, broken links and links to a folder around them are passed
    over and counted. No file is opened.

    Args:
        folder: where to look; `~` is the home directory.

    Raises:
        InputError: no such folder, one that cannot be read, or no video in it.

    >>> find_videos("/no/such/place")
    Traceback (most recent call last):
    lars_jax.errors.InputError: videos must lie in a folder; got no folder \
/no/such/place: correct the path
    """
    root = local_path(folder)
    if not root.is_dir():
        raise InputError(
            f"videos must lie in a folder; got no folder {root}: correct the path"
        )
    passed_over: Counter[str] = Counter()
    try:
        scanned = list(scan_files(root, SUFFIXES, passed_over))
    except OSError as error:
        raise InputError(
            f"videos must lie in folders that can be read; {error.filename} cannot "
            f"({error.strerror}): change its permissions or take it away"
        ) from error
    found = [name for name in scanned if _is_text(name)]
    if len(found) < len(scanned):
        passed_over["name that is not UTF-8"] += len(scanned) - len(found)
    if not found:
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(
            f"a folder of videos must have some; got none ({known}) in {root}: add "
            "some, or name another folder"
        )
    # Disks spell one name in several forms of Unicode; the order is that of one form.
    found.sort(key=lambda name: (unicodedata.normalize("NFC", name).split("/"), name))
    return Videos(root, tuple(found), dict(passed_over))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def opencv() -> ModuleType:
    """Return OpenCV, silent, on one thread, and kept from any network.

    One thread, because the flow that it finds depends on their number.

    Raises:
        InputError: it is not installed.
    """
    # FFmpeg's own log level (-8 is nothing at all) and protocols are read from the
    # environment alone; some files are lists of addresses elsewhere.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"OpenCV must be installed to read video; it is not ({error}): "
            "pip install -e '.[video]'"
        ) from error
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def read_frames(
    path: str | os.PathLike[str], size: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames of a video, one at a time; a damaged end ends it early.

    Frames count as they come, whatever times they have: the rate may vary.

    Args:
        path: a video, in any container and codec that OpenCV's FFmpeg decodes.
        size: height and width to resize frames to, the other way round for a video
            that is upright where they lie, or the reverse; None: as they are.

    Yields:
        uint8 [H, W, 3], red first.

    Raises:
        VideoError: there is no video in it, no frame, or frames of a size that is not
            worked with.
        InputError: OpenCV is not installed.
    """
    cv2 = opencv()
    options = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, PATIENCE),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, PATIENCE),
        *(cv2.CAP_PROP_N_THREADS, 1),
    ]
    # The path must be absolute: FFmpeg takes `a:b.avi` for an address.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, options)
    try:
        if not capture.isOpened():
            raise VideoError(_why_closed(path))
        sides = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        _require_size(*(int(capture.get(side)) for side in sides))
        count = 0
        while True:
            try:
                read, frame = capture.read()
            except cv2.error:
                # What a damaged frame may lead to; those before it are sound.
                read, frame = False, None
            if not read or frame is None:
                break
            # A stream may change its size on the way.
            _require_size(*frame.shape[:2])
            if size is not None and not count:
                size = _turned(size, frame.shape)
            count += 1
            yield _as_rgb(frame, size)
        if not count:
            raise VideoError("no frame can be decoded")
    finally:
        capture.release()


def announced_frames(path: str | os.PathLike[str]) -> int:
    """Return how many frames a video says that it has, which may be wrong; 0: none."""
    cv2 = opencv()
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    try:
        return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()


def _why_closed(path: str | os.PathLike[str]) -> str:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                return "empty file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "no video stream (sound alone, no video at all, or an unknown codec)"


def _require_size(height: int, width: int) -> None:
    if min(height, width) < SMALLEST:
        raise VideoError(f"frames have less than {SMALLEST} pixels a side")
    if height * width > LARGEST:
        raise VideoError(f"frames have more than {LARGEST:,} pixels")


def _turned(size: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width in the order of those of a frame."""
    turned = (shape[0] - shape[1]) * (size[0] - size[1]) < 0
    return (size[1], size[0]) if turned else size


def _as_rgb(frame: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    cv2 = opencv()
    if size is not None and frame.shape[:2] != size:
        # Areas where it shrinks, lest fine texture flickers as it moves.
        shrinks = frame.shape[0] > size[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        frame = cv2.resize(frame, size[::-1], interpolation=method)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Return the share of pixels in each of 8 x 8 x 8 bins of colour.

    Args:
        frame: uint8 [H, W, 3].

    Returns:
        float32 [512], which sums to 1. Every fourth pixel of every fourth line counts.

    >>> colour_histogram(np.zeros((8, 8, 3), np.uint8))[:2].tolist()
    [1.0, 0.0]
    """
    bins = (frame[::4, ::4].astype(np.int32) * BINS) // 256
    place = (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]
    counts = np.bincount(place.ravel(), minlength=BINS**3)
    return (counts / counts.sum()).astype(np.float32)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return how much of two histograms is in both: sum_i min(a_i, b_i), 0 to 1.

    Swain and Ballard 1991, "Color indexing" (histogram intersection). Less than
    `MiningConfig.cut` between one frame and the next is a cut.

    >>> overlap(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
    0.75
    """
    return float(np.minimum(one, other).sum())
