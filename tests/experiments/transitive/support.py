"""Clips with an object of known motion, small enough for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.transitive.config import MiningConfig, TrackingConfig
from experiments.transitive.video import opencv

MINING = MiningConfig(frame_height=120, frame_width=160, window=48, stride=5)
TRACKING = TrackingConfig(track_frames=10, crop=32)
SIDE = 48


def texture(height: int, width: int, seed: int, blur: float = 1.5) -> np.ndarray:
    """Return blobs of random colours, uint8 [H, W, 3]."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = opencv().GaussianBlur(noise, (0, 0), blur)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def scene(
    count: int,
    *,
    pan: tuple[int, int] = (2, 1),
    step: tuple[int, int] | None = (3, -1),
    start: tuple[int, int] = (30, 60),
    cut: int | None = None,
) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Return frames of 120 x 160 pixels, and left and top of the object in each.

    Args:
        count: number of frames.
        pan: motion of the camera, in pixels a frame.
        step: motion of the object in the frame; None: there is none.
        start: left and top of the object in the first frame.
        cut: the frame from which on all is other.
    """
    grounds = [texture(400, 500, seed, blur=2) for seed in (0, 7)]
    grounds[1] //= 3
    thing = texture(SIDE, SIDE, 1)
    frames, places = [], []
    for number in range(count):
        ground = grounds[cut is not None and number >= cut]
        y, x = 100 + pan[1] * number, 100 + pan[0] * number
        frame = ground[y : y + 120, x : x + 160].copy()
        if step is not None:
            left, top = start[0] + step[0] * number, start[1] + step[1] * number
            shown = frame[max(top, 0) : top + SIDE, max(left, 0) : left + SIDE]
            shown[:] = thing[: shown.shape[0], : shown.shape[1]]
            places.append((left, top))
        frames.append(frame)
    return frames, places


def write_video(
    path: Path, frames: Sequence[np.ndarray], size: tuple[int, int] | None = None
) -> Path:
    """Write frames as a video of JPEGs; `size` is needed where there are none."""
    cv2 = opencv()
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size or frames[0].shape[:2]
    code = cv2.VideoWriter_fourcc(*"MJPG")
    # FFmpeg's writer would make odd sizes even.
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, code, 10, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def members(group: int) -> list[int]:
    """Return the processes of a group that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found
