"""Each box followed over time, section 3.1 of arXiv 1708.02901.

A kernelized correlation filter (Henriques et al. 2015) follows a box for N frames; the
crop at the end shows the same object, seen otherwise. Boxes are followed forwards only.

Departure: OpenCV's filter sees grey values and colour names, not gradients' histograms,
and frames at half their size where the box has more than 80 x 80 pixels. Neither it nor
the original changes the size of the box.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from experiments.transitive.config import MiningConfig, TrackingConfig
from experiments.transitive.video import (
    colour_histogram,
    opencv,
    overlap,
    read_frames,
)

LEAST_INSIDE = 0.75
"""Share of the box within the frame below which the object has left it."""

FOLLOWED, LOST, LEFT, CROSSED, ENDED = range(5)
OUTCOMES = (
    "followed",
    "lost",
    "left the frame",
    "crossed a cut",
    "video ended",
)
"""What may come of a box that is followed, in words, by its number."""

TRACK = np.dtype(
    [
        ("frame", np.int32),
        ("x", np.int32),
        ("y", np.int32),
        ("outcome", np.int8),
        ("end_frame", np.int32),
        ("end_x", np.int32),
        ("end_y", np.int32),
    ]
)
"""A row of `track_video`: number of the first frame, left and top of the box there,
place in `OUTCOMES`, and frame, left and top of the last box (of what was followed to
its end; otherwise the last that is known). Pixels of the resized frame."""


@dataclass(frozen=True)
class Tracks:
    """What was followed in a video.

    Attributes:
        rows: `TRACK` [T], in order of first frames, whatever came of them.
        crops: JPEG of the first and of the last box, of each row that was followed.
        frames: number of frames that were read.
    """

    rows: np.ndarray
    crops: list[tuple[bytes, bytes]]
    frames: int


class Follower:
    """A box that is followed from frame to frame.

    Args:
        frame: uint8 [H, W, 3], the first.
        x: left of the box.
        y: top of the box.
        window: side of the box.

    >>> from sklearn.datasets import load_sample_image
    >>> photograph = load_sample_image("flower.jpg")
    >>> follower = Follower(photograph[:300, :400], 150, 100, 80)
    >>> follower.move(photograph[3:303, 4:404]), follower.x, follower.y
    (True, 146, 97)
    """

    def __init__(self, frame: np.ndarray, x: int, y: int, window: int):
        self.x, self.y = x, y
        # The filter's transforms are of the size of the box, or twice it.
        side = fast_side(window)
        self._margin = (window - side) // 2
        box = (x + self._margin, y + self._margin, side, side)
        self._filter = opencv().TrackerKCF_create()
        self._filter.init(_as_bgr(frame), box)
        # OpenCV's filter looks for nothing in the first frame that it updates on, and
        # learns the object from it: that must be the frame of the box.
        self._filter.update(_as_bgr(frame))

    def move(self, frame: np.ndarray) -> bool:
        """Find the box in the next frame; return whether it was found."""
        found, box = self._filter.update(_as_bgr(frame))
        if found:
            self.x, self.y = box[0] - self._margin, box[1] - self._margin
        return bool(found)


def fast_side(window: int) -> int:
    """Return the largest whole number up to a side that has no prime factor above 5.

    For 227, a prime, a Fourier transform takes seven times as long as for 225, and the
    filter follows the same objects to the same places.

    >>> fast_side(227)
    225
    """
    fits = opencv().getOptimalDFTSize
    return next(side for side in range(window, 0, -1) if fits(side) == side)


def _as_bgr(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[..., ::-1])


def inside(x: int, y: int, window: int, height: int, width: int) -> float:
    """Return the share of a square that lies within a frame.

    >>> inside(-5, 0, 10, 100, 100)
    0.5
    """
    across = min(x + window, width) - max(x, 0)
    down = min(y + window, height) - max(y, 0)
    return max(across, 0) * max(down, 0) / window**2


def crop_jpeg(
    frame: np.ndarray, x: int, y: int, window: int, config: TrackingConfig
) -> bytes:
    """Return a square of a frame as a JPEG file of `config.crop` pixels a side.

    Args:
        frame: uint8 [H, W, 3], red first.
        x: left of the square, which must lie within the frame.
        y: top of the square.
        window: side of the square.
        config: size and quality.
    """
    cv2 = opencv()
    patch = _as_bgr(frame[y : y + window, x : x + window])
    method = cv2.INTER_AREA if window > config.crop else cv2.INTER_LINEAR
    patch = cv2.resize(patch, (config.crop, config.crop), interpolation=method)
    _, file = cv2.imencode(".jpg", patch, [cv2.IMWRITE_JPEG_QUALITY, config.quality])
    return file.tobytes()


class _Track:
    """A track on its way: its row, its first crop, and what follows its box."""

    def __init__(
        self,
        number: int,
        frame: np.ndarray,
        place: tuple[int, int],
        window: int,
        config: TrackingConfig,
    ):
        self.window, self.config = window, config
        self.start, self.place = number, place
        self.frame, self.end_place = number, place
        self.outcome = ENDED
        self.seed = crop_jpeg(frame, *place, window, config)
        self.end = b""
        self._follower = Follower(frame, *place, window)

    def move(self, number: int, frame: np.ndarray) -> bool:
        """Follow into the next frame; return whether there is more to follow."""
        if not self._follower.move(frame):
            self.outcome = LOST
            return False
        height, width = frame.shape[:2]
        x, y = self._follower.x, self._follower.y
        if inside(x, y, self.window, height, width) < LEAST_INSIDE:
            self.outcome = LEFT
            return False
        x = min(max(x, 0), width - self.window)
        y = min(max(y, 0), height - self.window)
        self.frame, self.end_place = number, (x, y)
        if number - self.start < self.config.track_frames:
            return True
        self.outcome = FOLLOWED
        self.end = crop_jpeg(frame, x, y, self.window, self.config)
        return False

    @property
    def row(self) -> np.ndarray:
        values = (*self.place, self.outcome, self.frame, *self.end_place)
        return np.array([(self.start, *values)], TRACK)


def track_frames(
    frames: Iterable[np.ndarray],
    boxes: Sequence[tuple[int, int, int]],
    mining: MiningConfig,
    config: TrackingConfig,
    check: Callable[[], None] = lambda: None,
) -> Tracks:
    """Follow every box from its frame on, in one pass over the frames.

    A frame is held at a time, and a filter for each box that is on its way: at most
    `config.track_frames / mining.stride` of them, rounded up.

    Args:
        frames: uint8 [H, W, 3] each, all of one size.
        boxes: number of the first frame, left and top of each, in order of the frames.
        mining: side of the boxes, and least overlap of colours without a cut.
        config: length of a track, size and quality of the crops.
        check: is called for each frame and may raise to end the work.
    """
    waiting, active, done = list(boxes)[::-1], [], []
    colours, count = None, 0
    for number, frame in enumerate(frames):
        check()
        count = number + 1
        before, colours = colours, colour_histogram(frame)
        if before is not None and overlap(before, colours) < mining.cut:
            for track in active:
                track.outcome = CROSSED
            active = []
        active = [track for track in active if track.move(number, frame)]
        while waiting and waiting[-1][0] == number:
            place = waiting.pop()[1:]
            active.append(_Track(number, frame, place, mining.window, config))
            done.append(active[-1])
        if not active and not waiting:
            break
    rows = np.concatenate([np.zeros(0, TRACK), *(track.row for track in done)])
    kept = [track for track in done if track.outcome == FOLLOWED]
    return Tracks(rows, [(track.seed, track.end) for track in kept], count)


def track_video(
    path: str | PathLike[str],
    boxes: Sequence[tuple[int, int, int]],
    mining: MiningConfig,
    config: TrackingConfig,
    check: Callable[[], None] = lambda: None,
) -> Tracks:
    """Return `track_frames` of a video file, whose frames are resized as in mining.

    A function of the file, its boxes and the configuration alone, for any worker.

    Raises:
        VideoError: the file cannot be used.
        InputError: OpenCV is not installed.
    """
    frames = read_frames(path, (mining.frame_height, mining.frame_width))
    return track_frames(frames, boxes, mining, config, check)
