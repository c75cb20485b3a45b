"""The pinhole camera that a depth map was seen by."""

from dataclasses import dataclass

from lars_jax.errors import InputError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, without distortion.

    A point (x, y, z) in metres, x to the right, y down, z forward, is seen at pixel
    u = fx x / z + cx, v = fy y / z + cy, column u and row v, from 0 on.

    Attributes:
        fx: focal length in columns.
        fy: focal length in rows.
        cx: column of the optical axis.
        cy: row of the optical axis.
        height: of the image that these are in pixels of.
        width: of that image.

    Raises:
        InputError: a focal length or a side that is not above 0.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int

    def __post_init__(self) -> None:
        if not min(self.fx, self.fy, self.height, self.width) > 0:
            raise InputError(
                "a camera has focal lengths and sides above 0; got "
                f"{self.fx} and {self.fy} at {self.width}x{self.height}: correct them"
            )


KINECT = Camera(259.43, 259.73, 162.79, 126.87, 240, 320)
"""The colour camera of NYUv2, to which its depth is registered, at 320x240."""


def resized_camera(camera: Camera, height: int, width: int) -> Camera:
    """Return the camera of an image resized to other sides.

    Args:
        camera: of the image before.
        height: of the image after.
        width: of the image after.

    Raises:
        InputError: a side that is not above 0.

    >>> resized_camera(KINECT, 480, 640).fx
    518.86
    """
    across, down = width / camera.width, height / camera.height
    return Camera(
        camera.fx * across,
        camera.fy * down,
        camera.cx * across,
        camera.cy * down,
        height,
        width,
    )
