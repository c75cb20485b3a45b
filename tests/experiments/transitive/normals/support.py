"""Depth maps and archives whose normals and contents are known."""

import io

import numpy as np
from PIL import Image

from experiments.transitive.normals.camera import KINECT, Camera, resized_camera
from experiments.transitive.normals.depth import lines_of_sight

SMALL = resized_camera(KINECT, 120, 160)
STEP = 1 / 25.5


def unit(*vector):
    return np.array(vector, float) / np.linalg.norm(vector)


def plane_depth(normal, distance, camera: Camera = SMALL):
    """Depth of the plane with this unit normal, which is so far from the camera."""
    lines = lines_of_sight(camera)
    return -distance / (lines @ normal) * lines[..., 2]


def in_steps(depth):
    return ((np.floor(depth / STEP) + 0.5) * STEP).astype(np.float32)


def degrees_between(a, b):
    """Angles in float64, by the cosine rule of chords: no library's arc cosine."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    apart = np.linalg.norm(a - b, axis=-1)
    return np.degrees(2 * np.arctan2(apart, np.linalg.norm(a + b, axis=-1)))


def encoded(pixels, kind):
    file = io.BytesIO()
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    Image.fromarray(pixels).save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def archive(splits=(0, 1, 2, 2), first=10):
    """Arrays of an archive: the photograph of frame i is all 40 i, its depth 50 + i."""
    files = []
    for place in range(len(splits)):
        grey = np.full((6, 8, 3), 40 * place, np.uint8)
        packed = np.zeros((6, 8, 3), np.uint8)
        packed[..., 0], packed[0, 0, 0] = 50 + place, 0
        files += [encoded(grey, "JPEG"), encoded(packed, "WEBP")]
    return {
        "data": np.concatenate(files),
        "ends": np.cumsum([len(file) for file in files]),
        "index": np.arange(first, first + len(splits), dtype=np.int16),
        "split": np.array(splits, np.uint8),
    }


def floor_and_wall(rng):
    """Return a floor below a wall, whose colours tell them apart, and their depth."""
    height, width = 240, 320
    v, _ = np.mgrid[:height, :width]
    line = int(rng.integers(100, 140))
    floor = v >= line
    # A floor 1.2 m below the camera's axis, cut off by a wall.
    drop = np.maximum((v - 126.87) / 259.73, 1e-3)
    edge = max((line - 126.87) / 259.73, 0.13)
    depth = np.where(floor, np.minimum(1.2 / drop, 1.2 / edge), 1.2 / edge)
    image = np.where(floor[..., None], [150, 90, 40], [60, 90, 180])
    noise = rng.integers(-20, 20, (height, width, 3))
    return (image + noise).astype(np.uint8), np.clip(depth, 0.8, 9.5)


def write_frames(path, bumps=0.0, count=12):
    """Write an archive of frames, a third of them to test on.

    Args:
        path: of the archive.
        bumps: height of waves on all that is seen, in metres.
        count: frames, a multiple of 3.
    """
    rng, files = np.random.default_rng(0), []
    v, u = np.mgrid[:240, :320]
    waves = bumps * np.sin(u / 15) * np.sin(v / 15)
    for _ in range(count):
        image, depth = floor_and_wall(rng)
        depth = np.clip(depth + waves, 0.8, 9.5)
        stored = np.zeros((*depth.shape, 3), np.uint8)
        stored[..., 0] = np.floor(depth * 25.5)
        for pixels, kind in ((image, "JPEG"), (stored, "PNG")):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, kind)
            files.append(file.getvalue())
    np.savez(
        path,
        data=np.frombuffer(b"".join(files), np.uint8),
        ends=np.cumsum([len(file) for file in files]),
        index=np.arange(count),
        split=np.repeat([0, 1, 2], count // 3),
    )
    return path
