"""Histograms of oriented gradients, the paper's ablation of learned features."""

import numpy as np

from experiments.transitive.vectors import unit_rows
from experiments.transitive.video import opencv
from lars_jax.errors import InputError

CELL, BINS = 8, 9
"""Side of a cell in pixels, and orientations of its histogram (Dalal and Triggs)."""


def hog(images: np.ndarray) -> np.ndarray:
    """Return histograms of oriented gradients of images at unit norm.

    Cells of 8 by 8 pixels have nine unsigned orientations each; blocks of 2 by 2 cells,
    a cell apart, are normalised, cut off at 0.2 and normalised again. Gradients are
    those of the square roots of pixels, so that contrast does not matter; of a colour
    image the channel of the largest gradient counts.

    Args:
        images: uint8 [N, H, W, C], C = 1 or 3, H and W multiples of 8 from 16 on.

    Returns:
        float32 [N, (H / 8 - 1) (W / 8 - 1) 36]; zero for an image of one colour.

    Raises:
        InputError: another shape or type, or no OpenCV.

    Reference:
        Dalal, Triggs: Histograms of Oriented Gradients for Human Detection, 2005.

    >>> ramp = np.arange(96, dtype=np.uint8)[:, None, None]
    >>> found = hog(np.broadcast_to(ramp, (1, 96, 96, 1)))
    >>> found.shape, round(float(np.linalg.norm(found)), 3)
    ((1, 4356), 1.0)
    """
    _check(images)
    height, width = images.shape[1:3]
    cv2 = opencv()
    describe = cv2.HOGDescriptor(
        (width, height), (2 * CELL, 2 * CELL), (CELL, CELL), (CELL, CELL), BINS
    )
    found = np.empty((len(images), describe.getDescriptorSize()), np.float32)
    for place, image in enumerate(images):
        found[place] = describe.compute(np.ascontiguousarray(image)).ravel()
    return unit_rows(found)


def _check(images: np.ndarray) -> None:
    right = images.ndim == 4 and images.shape[3] in (1, 3) and images.dtype == np.uint8
    if not right or any(side % CELL or side < 2 * CELL for side in images.shape[1:3]):
        raise InputError(
            f"images must be uint8 [N, H, W, 1 or 3] with sides that are multiples of "
            f"{CELL} from {2 * CELL} on; got {images.dtype} {list(images.shape)}: "
            "convert or resize them"
        )
