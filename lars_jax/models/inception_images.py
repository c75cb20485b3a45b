"""Images as the Inception of FID wants them: resized to 299 x 299 pixels and scaled."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.errors import InputError

Resize = Literal["legacy", "half_pixel"]

IMAGE_SIZE = 299
"""Height and width of the images that the network sees."""


def inception_images(images: jax.Array, *, resize: Resize = "legacy") -> jax.Array:
    """Resize images to 299 x 299 pixels and scale them to -1 .. 1.

    Pixel j of n outputs lies, among m inputs, at

    - `legacy`: s = j m / n, and the values become (x - 128) / 128. The graph of
      2015-12-05 begins with just this, TensorFlow 1's bilinear resizing without
      half-pixel centres, so it is the default: published Inception scores, and FIDs of
      the TensorFlow program, were measured through it.
    - `half_pixel`: s = (j + 1/2) m / n - 1/2, and the values become 2 x / 255 - 1, as
      pytorch-fid does it: bilinear with `align_corners=False`.

    and becomes (1 - f) x_i + f x_(i + 1) with i = floor(s), f = s - i, and the last
    pixel again beyond the edge. Neither smooths images that it makes smaller.

    Args:
        images: uint8 or floating [B, H, W, 3], values 0 to 255.
        resize: one of these two.

    Returns:
        float32 [B, 299, 299, 3].

    Raises:
        InputError: another shape or another way.

    The middle of a black and a white pixel is nearly white, or grey:

    >>> import jax.numpy as jnp, numpy as np
    >>> pair = jnp.tile(jnp.array([0.0, 255.0]).reshape(1, 1, 2, 1), (1, 2, 1, 3))
    >>> print(np.asarray(inception_images(pair)[0, 0, ::149, 0], float).round(3))
    [-1.     0.986  0.992]
    >>> other = inception_images(pair, resize="half_pixel")[0, 0, ::149, 0]
    >>> print(np.asarray(other, float).round(3) + 0.0)
    [-1.  0.  1.]
    """
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise InputError(
            "Inception takes images [batch, height, width, 3]; got "
            f"{list(images.shape)}: give colour images, channels last"
        )
    if resize not in ("legacy", "half_pixel"):
        raise InputError(
            "images are resized for Inception by 'legacy' (TensorFlow 1) or "
            f"'half_pixel' (pytorch-fid); got {resize!r}: choose one of these"
        )
    x = images.astype(jnp.float32)
    if resize == "legacy":
        return (_legacy(_legacy(x, 2), 1) - 128.0) / 128.0
    shape = (x.shape[0], IMAGE_SIZE, IMAGE_SIZE, x.shape[3])
    exact = jax.lax.Precision.HIGHEST
    wide = jax.image.resize(x, shape, "bilinear", antialias=False, precision=exact)
    return wide * (2 / 255) - 1.0


def _legacy(x: jax.Array, axis: int) -> jax.Array:
    """Return `x` resized along one axis, from its left or upper corner."""
    pixels = x.shape[axis]
    # Rounded to float32 after the division and after the product, as TensorFlow does.
    place = np.arange(IMAGE_SIZE, dtype=np.float32) * np.float32(pixels / IMAGE_SIZE)
    low = place.astype(np.int32)
    shape = [IMAGE_SIZE if i == axis else 1 for i in range(x.ndim)]
    share = jnp.asarray((place - low).reshape(shape))
    here = jnp.take(x, low, axis)
    there = jnp.take(x, np.minimum(low + 1, pixels - 1), axis)
    return here + (there - here) * share
