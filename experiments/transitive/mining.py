"""Moving objects in raw video, section 3.1 of arXiv 1708.02901 after Wang and Gupta.

Points of interest are tracked into the next frame by dense flow; a homography through
most of them is the camera's motion; what moves otherwise is an object, if neither too
little of the frame does (noise) nor too much (a camera that no homography explains).

Departures: SIFT's points in place of SURF's, which the builds of OpenCV leave out for
its patent, and the flow of DIS (Kroeger et al. 2016) in place of Farneback's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Literal

import numpy as np

from experiments.transitive.config import MiningConfig
from experiments.transitive.video import (
    colour_histogram,
    opencv,
    overlap,
    read_frames,
)
from lars_jax.errors import InputError

LEAST_POINTS = 20
"""Points below which a frame is too plain for its share of moving ones to mean much."""

TOLERANCE = 1.0
"""Pixels by which a point may miss the camera's homography and still vote for it, as in
the improved trajectories of Wang and Schmid 2013."""

KEPT, PLAIN, STILL, MOVING, CUT, ANOTHER = range(6)
OUTCOMES = (
    "kept",
    "few points",
    "few moving points",
    "many moving points",
    "cut",
    "further boxes",
)
"""What may come of a frame that is looked at, in words, by its number."""

LOOKED_AT = np.dtype(
    [
        ("frame", np.int32),
        ("outcome", np.int8),
        ("points", np.int32),
        ("moving", np.int32),
        ("x", np.int32),
        ("y", np.int32),
        ("overlap", np.float32),
    ]
)
"""A row of `mine_video`, one of each frame and one of each further box: number of the
frame, place in `OUTCOMES`, its points and how
many of them move, left and top of the best window in pixels of the resized frame (-1
where it is not kept), overlap of its colours with the next frame's."""


@dataclass(frozen=True)
class Motion:
    """The motion between a frame and the next.

    Attributes:
        points: float32 [P, 2], x and y of the points of interest, in pixels.
        residual: float32 [P], pixels by which a point moves beyond the camera's motion.
    """

    points: np.ndarray
    residual: np.ndarray


def measure_motion(frame: np.ndarray, following: np.ndarray) -> Motion:
    """Return how points move from a frame to the next, the camera's motion removed.

    With p_i the points of SIFT, f the dense flow and H the homography by RANSAC that
    takes most p_i to p_i + f(p_i), the residual is |p_i + f(p_i) - H p_i|.

    Args:
        frame: uint8 [H, W, 3].
        following: the next frame, of the same shape.

    Returns:
        Points in raster order, each once. Residuals are 0 where there are less than
        `LEAST_POINTS` of them.

    >>> still = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    >>> float(measure_motion(still, still).residual.max()) < 0.1
    True
    """
    cv2 = opencv()
    grey, after = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (frame, following))
    found = cv2.SIFT_create().detect(grey)
    # SIFT gives a point once for each of its orientations.
    points = np.unique([point.pt[::-1] for point in found], axis=0).astype(np.float32)
    points = points.reshape(-1, 2)[:, ::-1].copy()
    if len(points) < LEAST_POINTS:
        return Motion(points, np.zeros(len(points), np.float32))
    dense = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dense.calc(grey, after, None)
    moved = points + _sample(flow, points)
    camera, _ = cv2.findHomography(points, moved, cv2.RANSAC, TOLERANCE)
    if camera is None:
        camera = np.eye(3)
    expected = cv2.perspectiveTransform(points[None], camera)[0]
    residual = np.linalg.norm(moved - expected, axis=1).astype(np.float32)
    return Motion(points, residual)


def _sample(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the flow at the pixel that each point is nearest to."""
    height, width = flow.shape[:2]
    x = np.clip(np.rint(points[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(points[:, 1]).astype(int), 0, height - 1)
    return flow[y, x]


def best_window(
    points: np.ndarray,
    height: int,
    width: int,
    window: int,
    ties: Literal["first", "middle"] = "first",
) -> tuple[int, int]:
    """Return left and top of the square that holds most points.

    Every place in the frame is tried, exactly, by differences of a summed-area table
    (Crow 1984). A point belongs to the pixel floor(x), floor(y). An object smaller than
    the square lies wholly in many of them; in the first at its lower right edge.

    Args:
        points: [P, 2], x and y in pixels; at least one within the frame.
        height: of the frame.
        width: of the frame.
        window: side of the square, at most either.
        ties: of several the first in raster order, or the one closest to their mean.

    Raises:
        InputError: the square is larger than the frame.

    >>> best_window(np.array([[50, 20], [52, 24], [5, 5]]), 100, 100, 10)
    (43, 15)
    >>> best_window(np.array([[50, 20], [52, 24], [5, 5]]), 100, 100, 10, "middle")
    (46, 17)
    """
    require_window(height, width, window)
    counts = np.zeros((height + 1, width + 1), np.int64)
    x, y = np.floor(points).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    np.add.at(counts, (y[inside] + 1, x[inside] + 1), 1)
    table = counts.cumsum(0).cumsum(1)
    sums = (
        table[window:, window:]
        - table[:-window, window:]
        - table[window:, :-window]
        + table[:-window, :-window]
    )
    best = np.argwhere(sums == sums.max())
    if ties == "middle":
        # In whole numbers: their number times the distance from the mean.
        away = np.abs(len(best) * best - best.sum(axis=0)).sum(axis=1)
        best = best[away.argmin() :]
    top, left = best[0]
    return int(left), int(top)


def best_windows(
    points: np.ndarray, height: int, width: int, config: MiningConfig
) -> list[tuple[int, int]]:
    """Return left and top of the squares that hold most points, most first.

    Each is the `best_window` of the points that are in none before it. Those whose
    middles are less than half a side from that of another, in both directions, are of
    the same object and passed over.

    Args:
        points: [P, 2], x and y in pixels; at least one within the frame.
        height: of the frame.
        width: of the frame.
        config: side of the squares, how many at most, and which of several.

    >>> from experiments.transitive.config import MiningConfig
    >>> points = np.array([[50, 20], [52, 24], [51, 22], [5, 5], [6, 6], [90, 90]])
    >>> best_windows(points, 100, 100, MiningConfig(window=10, boxes=3))
    [(43, 15), (0, 0)]
    """
    side, places, most = config.window, [], 0
    while len(places) < config.boxes and len(points):
        place = best_window(points, height, width, side, config.ties)
        off = np.floor(points) - place
        held = ((off >= 0) & (off < side)).all(axis=1)
        most = most or int(held.sum())
        if not held.any() or 2 * held.sum() < most:
            break
        near = [np.abs(np.subtract(place, other)).max() < side / 2 for other in places]
        places += [place] if not any(near) else []
        points = points[~held]
    return places


def require_window(height: int, width: int, window: int) -> None:
    """Refuse a window that is larger than the frame."""
    if window > min(height, width):
        raise InputError(
            f"window must fit into the frame; got {window} for {height} x {width}: set "
            "--window to less, or --frame-height and --frame-width to more"
        )


def mine_pair(
    number: int, frame: np.ndarray, following: np.ndarray, config: MiningConfig
) -> np.ndarray:
    """Return what comes of a frame that is looked at, rows of `LOOKED_AT`.

    With s the share of points that move by more than `config.moving`, it is kept where
    `least_moving` <= s <= `most_moving`, and its box is where most of them are.

    Args:
        number: of the frame.
        frame: uint8 [H, W, 3].
        following: the next frame.
        config: limits and window.
    """
    height, width = frame.shape[:2]
    colours = overlap(colour_histogram(frame), colour_histogram(following))
    if colours < config.cut:
        return _row(number, CUT, colours=colours)
    motion = measure_motion(frame, following)
    moves = motion.residual > config.moving
    row = {"points": len(moves), "moving": int(moves.sum()), "colours": colours}
    if len(moves) < LEAST_POINTS:
        return _row(number, PLAIN, **row)
    share = moves.mean()
    # Without one that moves there is no window to speak of, whatever the limits.
    if share < config.least_moving or not moves.any():
        return _row(number, STILL, **row)
    if share > config.most_moving:
        return _row(number, MOVING, **row)
    places = best_windows(motion.points[moves], height, width, config)
    outcomes = [KEPT, *[ANOTHER] * (len(places) - 1)]
    return np.concatenate(
        [
            _row(number, outcome, place=place, **row)
            for outcome, place in zip(outcomes, places, strict=True)
        ]
    )


def _row(
    number: int,
    outcome: int,
    *,
    points: int = 0,
    moving: int = 0,
    place: tuple[int, int] = (-1, -1),
    colours: float = 0.0,
) -> np.ndarray:
    return np.array([(number, outcome, points, moving, *place, colours)], LOOKED_AT)


def has_box(rows: np.ndarray) -> np.ndarray:
    """Return which rows of `LOOKED_AT` have a box to follow, bool.

    >>> rows = np.zeros(3, LOOKED_AT)
    >>> rows["outcome"] = KEPT, STILL, ANOTHER
    >>> print(has_box(rows))
    [ True False  True]
    """
    return np.isin(rows["outcome"], (KEPT, ANOTHER))


def mine_frames(
    frames: Iterable[np.ndarray],
    config: MiningConfig,
    check: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, int]:
    """Return what comes of every `config.stride`-th frame, and how many frames passed.

    Two frames are held at a time. `config.tracks` boxes end the search.

    Args:
        frames: uint8 [H, W, 3] each, all of one size.
        config: which frames are looked at, limits and window.
        check: is called for each frame and may raise to end the work.

    Returns:
        Rows of `LOOKED_AT` in order, and the number of frames read.
    """
    rows, before, count, kept = [np.zeros(0, LOOKED_AT)], None, 0, 0
    for number, frame in enumerate(frames):
        check()
        count = number + 1
        if before is not None and (number - 1) % config.stride == 0:
            found = mine_pair(number - 1, before, frame, config)
            boxes = np.cumsum(has_box(found))
            rows.append(found[boxes <= config.tracks - kept])
            kept += int(has_box(rows[-1]).sum())
        before = frame
        if kept == config.tracks:
            break
    return np.concatenate(rows), count


def mine_video(
    path: str | PathLike[str],
    config: MiningConfig,
    check: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, int]:
    """Return `mine_frames` of a video file, whose frames are resized as configured.

    A function of the file and the configuration alone, for any worker to call.

    Raises:
        VideoError: the file cannot be used.
        InputError: OpenCV is not installed, or the window is larger than the frame.
    """
    frames = read_frames(path, (config.frame_height, config.frame_width))
    return mine_frames(frames, config, check)
