"""Contact sheets of what was mined and of what was followed, to be looked at."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from experiments.transitive.config import MiningConfig
from experiments.transitive.extract import read_mined
from experiments.transitive.mining import KEPT, measure_motion
from experiments.transitive.records import read_records
from experiments.transitive.shards import Crops
from experiments.transitive.video import VideoError, opencv, read_frames
from lars_jax.errors import InputError
from lars_jax.report import image_sheet

MOVES, RESTS, BOX = (235, 60, 50), (70, 150, 245), (60, 220, 90)
"""Colours of points that move, of those that do not, and of the box."""


def mined_sheet(
    root: Path,
    mined: Path,
    config: MiningConfig,
    *,
    rows: int = 6,
    columns: int = 4,
) -> np.ndarray:
    """Return frames that were kept, with their points and boxes; a row for each video.

    Points that move beyond the camera's motion are red, others blue, the box is green.

    Args:
        root: the folder of the videos.
        mined: the directory that `mine_videos` filled.
        config: what it was filled with.
        rows: most videos, spread over all that have a box.
        columns: most frames of each, spread likewise.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: nothing was mined, or its files are damaged.
    """
    sheet, names = [], []
    for record in _spread(_with_boxes(mined), rows):
        found = read_mined(mined, record["number"])
        chosen = _spread(list(found[found["outcome"] == KEPT]), columns)
        try:
            drawn = _draw_video(root / record["video"], chosen, config)
        except VideoError:
            continue  # It has gone since.
        sheet.append(_filled(drawn, columns))
        names.append(record["video"])
    if not sheet:
        raise InputError(
            f"a sheet must have frames; got none that was kept, in {mined}: mine again"
        )
    return image_sheet(
        _in_one_shape(sheet), row_labels=[_short(name) for name in names]
    )


def _in_one_shape(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return rows [C, H, W, 3] of wide and of upright frames, padded with white."""
    height, width = np.max([row.shape[1:3] for row in rows], axis=0)
    return np.stack(
        [
            np.pad(
                row,
                ((0, 0), (0, height - row.shape[1]), (0, width - row.shape[2]), (0, 0)),
                constant_values=255,
            )
            for row in rows
        ]
    )


def _with_boxes(mined: Path) -> list[dict]:
    records = read_records(mined)
    return [r for r in records if not r["reason"] and r["counts"].get("kept")]


def _draw_video(
    path: Path, chosen: Sequence[np.ndarray], config: MiningConfig
) -> list[np.ndarray]:
    wanted = {int(row["frame"]): row for row in chosen}
    drawn = []
    frames = read_frames(path, (config.frame_height, config.frame_width))
    for number, (frame, following) in enumerate(pairwise(frames)):
        if number in wanted:
            drawn.append(draw_mined(frame, following, wanted[number], config))
        if len(drawn) == len(wanted):
            break
    return drawn


def draw_mined(
    frame: np.ndarray, following: np.ndarray, row: np.ndarray, config: MiningConfig
) -> np.ndarray:
    """Return a frame with its points of interest and its box.

    Args:
        frame: uint8 [H, W, 3].
        following: the next frame.
        row: of `mining.LOOKED_AT`.
        config: from which motion on a point moves, and the side of the box.
    """
    cv2 = opencv()
    motion = measure_motion(frame, following)
    picture, thick = frame.copy(), max(1, len(frame) // 150)
    for point, residual in zip(motion.points, motion.residual, strict=True):
        place = (round(float(point[0])), round(float(point[1])))
        colour = MOVES if residual > config.moving else RESTS
        cv2.circle(picture, place, thick, colour, -1, cv2.LINE_AA)
    corner = (int(row["x"]), int(row["y"]))
    opposite = (corner[0] + config.window - 1, corner[1] + config.window - 1)
    cv2.rectangle(picture, corner, opposite, BOX, thick)
    return picture


def track_sheet(crops: Crops, *, rows: int = 8, columns: int = 5) -> np.ndarray:
    """Return tracks, the seed on the left and its end on the right; a row a video.

    Args:
        crops: what `track_videos` left.
        rows: most videos, spread over all that have a track.
        columns: most tracks of each, spread likewise.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: there is no track, or files are damaged.
    """
    videos = np.asarray(crops.index["video"][::2])
    if not len(videos):
        raise InputError(
            f"a sheet must have tracks; got none in {crops.directory}: track again"
        )
    names = crops.videos
    sheet, labels = [], []
    for video in _spread(np.unique(videos).tolist(), rows):
        tracks = _spread(np.flatnonzero(videos == video).tolist(), columns)
        pairs = [
            np.hstack([crops[2 * track][0], crops[2 * track + 1][0]])
            for track in tracks
        ]
        sheet.append(_filled(pairs, columns))
        labels.append(_short(names[video]))
    return image_sheet(np.stack(sheet), row_labels=labels)


def _spread(items: Sequence, count: int) -> list:
    """Return at most so many of some items, evenly spread, the first among them."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def _filled(pictures: list[np.ndarray], count: int) -> np.ndarray:
    blank = np.full_like(pictures[0], 255)
    return np.stack(pictures + [blank] * (count - len(pictures)))


def _short(name: str) -> str:
    """Return the end of a path, which tells one video from another."""
    return name if len(name) <= 24 else f"...{name[-21:]}"
