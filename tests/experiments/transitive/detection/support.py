"""Random boxes of many kinds, and their overlap by the definition in float64."""

import numpy as np


def drawn_boxes(rng: np.random.Generator, count: int, side: float = 100.0):
    """Return boxes float32 [count, 4] on whole pixels, some touching, some equal."""
    ends = rng.integers(0, int(side) + 1, (2, count, 2))
    low, high = ends.min(axis=0), ends.max(axis=0) + 1
    boxes = np.concatenate([low, high], axis=1)
    if count:
        boxes[rng.integers(count)] = boxes[0]
    return boxes.astype(np.float32)


def overlap(a, b) -> float:
    """Return the intersection over union of two boxes."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (a, b)]
    return shared / (sum(areas) - shared) if min(areas) > 0 else 0.0


def all_overlaps(a, b) -> np.ndarray:
    """Return those of each box with each other one, float64 [N, M]."""
    found = [[overlap(one, other) for other in b] for one in a]
    return np.array(found).reshape(len(a), len(b))
