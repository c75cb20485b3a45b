"""The plane that each pixel of a depth map lies on, by least squares over windows.

A plane is linear in inverse depth, 1/z = a u + b v + c, so that its fit is a linear
one and needs sums over windows alone. What is ours here is which windows a pixel
listens to: all of those that contain it, of every size, and that one plane explains
within the error of the measurement. So areas of one depth level, tens of pixels wide
where depth is stored in steps, are spanned by large windows, while at the edge of an
object the windows on its own side count (after Kuwahara's filter).
"""

from collections.abc import Sequence

import numpy as np

RADII = (2, 4, 8, 16, 32)
"""Windows have 2 r + 1 pixels a side."""

MISFIT = 1.5
"""Mean square of a window's residual, in units of the expected, that halves its say."""

FALL = 4
"""How steeply that say falls: 1 / (1 + (misfit / 1.5)^4)."""

LEAST_SAY = 1e-7
"""Of a window that no plane explains, so that some plane is known everywhere."""

ENOUGH = 0.25
"""Share of good windows around a pixel beyond which more say nothing new.

At a straight edge half of them are good, in a corner a quarter.
"""

PREFERENCE = 3
"""Windows count as the power of 3 of their side."""


def local_planes(
    inverse: np.ndarray,
    measured: np.ndarray,
    error: np.ndarray,
    bound: np.ndarray,
    known: np.ndarray,
    radii: Sequence[int] = RADII,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the plane of each pixel, and how well it is supported.

    .. math:: \min_{a, b, c} \sum_{window} (a u + b v + c - 1/z)^2

    The planes of all windows around a pixel are averaged, each by how well it fits;
    a size of window counts less where its average misses the pixel itself.

    Args:
        inverse: float64 [H, W], inverse depth to fit, 1/m.
        measured: float64 [H, W], inverse depth that the plane of a pixel must meet.
        error: float64 [H, W], its expected standard error.
        bound: float64 [H, W], its largest error.
        known: bool [H, W], where there is a depth.
        radii: of the windows, in pixels.

    Returns:
        a, b and c, float64 [3, H, W], of u and v from the centre of the image, which is
        at (W - 1) / 2 and (H - 1) / 2; and support, float64 [H, W], from 0 to 1, where
        a window fits and meets the pixel.

    >>> slope = 0.5 + 0.01 * np.tile(np.arange(9.0), (9, 1))
    >>> small, known = np.full((9, 9), 1e-3), np.ones((9, 9), bool)
    >>> planes, support = local_planes(slope, slope, small, small, known, (2,))
    >>> print(planes[:, 4, 4].round(3), support.min().round(2))
    [0.01 0.   0.54] 1.0
    """
    height, width = inverse.shape
    v, u = np.mgrid[:height, :width].astype(np.float64)
    u -= (width - 1) / 2
    v -= (height - 1) / 2
    weight = known.astype(np.float64)
    w = np.where(known, inverse, 0.0)
    products = [u, v, u * u, u * v, v * v, np.ones_like(u)]
    sums = _summed(
        [weight * one for one in products]
        + [w, u * w, v * w, w * w, np.where(known, error, 0.0) ** 2],
        max(radii),
    )
    total, whole = np.zeros_like(w), np.zeros((3, height, width))
    support = np.zeros_like(w)
    for radius in radii:
        say, planes = _fits(_windows(sums, radius, (height, width)))
        say, planes = _shared(say, planes, radius)
        missed = np.abs(planes[0] * u + planes[1] * v + planes[2] - measured)
        meets = 1 / (1 + (missed / bound) ** 8)
        agreed = np.minimum(say, ENOUGH) / ENOUGH * meets
        counts = agreed * (2.0 * radius + 1) ** PREFERENCE + LEAST_SAY / radius**4
        total += counts
        whole += counts * planes
        support = np.maximum(support, agreed)
    return whole / total, np.where(known, support, 0.0)


def _fits(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the say of the windows around each pixel's place, and their planes."""
    u, v, uu, uv, vv, count, w, uw, vw, ww, error = sums
    # Sums of running sums are off by rounding where a window has no pixel.
    some = count > 5.5
    count = np.where(some, count, 1.0)
    u, v, w = u / count, v / count, w / count
    uu, uv, vv = uu / count - u * u, uv / count - u * v, vv / count - v * v
    uw, vw, ww = uw / count - u * w, vw / count - v * w, ww / count - w * w
    determinant = uu * vv - uv * uv
    some &= determinant > 1e-3  # Pixels in a row have no plane.
    determinant = np.where(some, determinant, 1.0)
    a = (uw * vv - vw * uv) / determinant
    b = (vw * uu - uw * uv) / determinant
    residual = np.maximum(ww - a * uw - b * vw, 0.0)
    misfit = residual / np.where(some, error / count, 1.0)
    say = np.maximum(1 / (1 + (misfit / MISFIT) ** FALL), LEAST_SAY)
    planes = np.stack([a, b, w - a * u - b * v])
    return np.where(some, say, 0.0), np.where(some, planes, 0.0)


def _shared(
    say: np.ndarray, planes: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average the planes of all windows that contain a pixel, by their say."""
    shape = say.shape
    rows = [np.ones_like(say), say, *(say * planes)]
    count, said, *averages = _windows(_summed(rows, radius), radius, shape)
    # Below this it is what rounding left of nothing.
    heard = np.where(said > LEAST_SAY / 10, said, 1.0)
    return np.maximum(said, 0.0) / count, np.stack(averages) / heard


def _summed(rows: Sequence[np.ndarray], reach: int) -> np.ndarray:
    """Return running sums along both axes, continued by `reach` on all sides."""
    stack = np.stack(rows)
    sums = np.pad(stack.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    return np.pad(sums, ((0, 0), (reach, reach), (reach, reach)), "edge")


def _windows(sums: np.ndarray, radius: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the sums over the window around each pixel, cut off at the borders."""
    height, width = shape
    reach = (sums.shape[1] - height - 1) // 2
    first, last = reach - radius, reach + radius + 1
    rows = sums[:, last : last + height] - sums[:, first : first + height]
    return rows[:, :, last : last + width] - rows[:, :, first : first + width]
