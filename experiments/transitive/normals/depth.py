"""Surface normals from depth.

The paper takes the normals of Ladicky et al. (2014), which are public as files only.
These here are OURS, of another method: planes through windows of the depth map
(`planes`), from depth that is smoothed first within the steps it is stored in. Numbers
found with them are comparable among themselves, and with published ones only roughly.
"""

import numpy as np

from experiments.transitive.normals.camera import Camera
from experiments.transitive.normals.planes import local_planes
from lars_jax.errors import InputError

NOISE = 1.6e-3
"""Standard error of a Kinect's inverse depth in 1/m: of depth, 4 cm at 5 m.

It grows with the square of the distance (Khoshelham, Elberink: Accuracy and Resolution
of Kinect Depth Data, 2012), so in inverse depth it is one number.
"""

FARTHEST = 9.9
"""Metres from which depth is not believed: NYUv2 is cut off at 10."""

LEAST_SUPPORT = 0.25
"""Of `local_planes`, below which a pixel has no normal."""

LEAST_COSINE = 0.1
"""Of a normal with the line of sight; what is seen from its edge, in-filled depth
mostly, has no normal."""


def surface_normals(
    depth: np.ndarray,
    camera: Camera,
    *,
    step: float = 0.0,
    noise: float = NOISE,
    farthest: float = FARTHEST,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit normal at each pixel of a depth map, and where it is valid.

    Where depth is stored in steps, it is moved towards the planes around it, by half a
    step at most; a second round of planes gives the normals, which face the camera.

    Not valid is a pixel without depth or too far away, one of which no plane through
    its neighbours meets the depth, as at jumps and in clutter, and one that is seen
    from its edge.

    Args:
        depth: float32 [H, W], metres along the optical axis; 0 where it is unknown.
        camera: that saw it, of the same height and width.
        step: metres between the values that depth is stored in; 0 if it is not.
        noise: standard error of inverse depth, 1/m, besides that of the steps.
        farthest: metres up to which depth is believed.

    Returns:
        normals, float32 [H, W, 3], (0, 0, -1) where there is none; x to the right, y
        down, z forward; and valid, bool [H, W].

    Raises:
        InputError: no such depth map, or another size than the camera's.

    A wall straight ahead, 2 m away:

    >>> camera = Camera(100.0, 100.0, 16.0, 12.0, 24, 32)
    >>> normals, valid = surface_normals(np.full((24, 32), 2.0, np.float32), camera)
    >>> print(normals[5, 5].round(3) + 0.0, valid.mean())
    [ 0.  0. -1.] 1.0
    """
    if depth.shape != (camera.height, camera.width):
        raise InputError(
            "a depth map has the size of its camera's image; got "
            f"{list(depth.shape)} and {camera.height}x{camera.width}: resize the camera"
        )
    known, inverse, error, bound = _measured(depth, step, noise)
    first = _smoothed(inverse, error, bound, known, step) if step else inverse
    planes, support = local_planes(first, inverse, error, bound, known)
    normals = plane_normals(planes, camera)
    cosine = -np.einsum("hwc,hwc->hw", normals, lines_of_sight(camera))
    valid = known & (support >= LEAST_SUPPORT) & (depth <= farthest)
    valid &= cosine >= LEAST_COSINE
    normals[~valid] = (0.0, 0.0, -1.0)
    return normals.astype(np.float32), valid


def plane_normals(planes: np.ndarray, camera: Camera) -> np.ndarray:
    r"""Return the unit normals of planes, which face the camera.

    With a point z ((u - c_x) / f_x, (v - c_y) / f_y, 1) of the plane n . p = -d,

    .. math:: \frac{1}{z} = -\frac{1}{d} \left( n_x \frac{u - c_x}{f_x}
        + n_y \frac{v - c_y}{f_y} + n_z \right) = a u + b v + c,

    so that n is along -(a f_x, b f_y, a c_x + b c_y + c), and for d > 0 it faces the
    camera.

    Args:
        planes: float64 [3, H, W], a, b and c of u and v from the centre of the image.
        camera: of the same height and width.

    Returns:
        float64 [H, W, 3].

    A floor 1.5 m below the camera, v = f_y 1.5 / z + c_y:

    >>> camera = Camera(100.0, 100.0, 0.0, 0.0, 1, 1)
    >>> floor = np.array([0.0, 1 / 150, 0.0]).reshape(3, 1, 1)
    >>> print(plane_normals(floor, camera).ravel() + 0.0)
    [ 0. -1.  0.]
    """
    a, b, c = planes
    across = camera.cx - (camera.width - 1) / 2
    down = camera.cy - (camera.height - 1) / 2
    normals = -np.stack([a * camera.fx, b * camera.fy, a * across + b * down + c], -1)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)


def lines_of_sight(camera: Camera) -> np.ndarray:
    """Return the unit vector from the camera to what each pixel sees.

    Args:
        camera: of any size.

    Returns:
        float64 [H, W, 3].

    >>> print(lines_of_sight(Camera(1.0, 1.0, 0.0, 0.0, 1, 2))[0, 1].round(3))
    [0.707 0.    0.707]
    """
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    lines = np.stack([x, y, np.ones_like(x)], axis=-1)
    return lines / np.linalg.norm(lines, axis=-1, keepdims=True)


def _measured(
    depth: np.ndarray, step: float, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return where depth is known, inverse depth, its standard and largest errors."""
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise InputError(
            "a depth map is floating [H, W] in metres; got "
            f"{depth.dtype} {list(depth.shape)}: convert it"
        )
    if not (step >= 0 and noise > 0):
        raise InputError(
            "depth has steps of at least 0 and noise above 0; got "
            f"{step} and {noise}: correct them"
        )
    known = np.isfinite(depth) & (depth > step / 2)
    z = np.where(known, depth, 1.0).astype(np.float64)
    half = step / 2 / z**2
    # A value within a step is uniform: its variance is a third of half its square.
    return known, 1 / z, np.sqrt(half**2 / 3 + noise**2), half + 2 * noise


def _smoothed(
    inverse: np.ndarray,
    error: np.ndarray,
    bound: np.ndarray,
    known: np.ndarray,
    step: float,
) -> np.ndarray:
    a, b, c = local_planes(inverse, inverse, error, bound, known)[0]
    height, width = inverse.shape
    u = np.arange(width) - (width - 1) / 2
    v = np.arange(height)[:, None] - (height - 1) / 2
    z = 1 / inverse
    nearest, farthest = z - np.where(known, step / 2, 0.0), z + step / 2
    return np.clip(a * u + b * v + c, 1 / farthest, 1 / nearest)
