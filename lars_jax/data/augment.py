"""Variation of training images on the device, compiled into the training step.

The key of an example's variation is folded from the seed, the epoch and the index of
the example, never from its place in a batch. So the same example looks the same in the
same epoch for every batch size, micro-batch and number of devices.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from lars_jax.errors import InputError

A = TypeVar("A", jax.Array, np.ndarray)


def example_keys(key: jax.Array, index: jax.Array, epoch: jax.Array) -> jax.Array:
    """Return one random key per example: fold_in(fold_in(key, epoch), index).

    Args:
        key: key of the run's augmentation.
        index: int32 [B], examples in their source.
        epoch: int32 [B], epoch of each.

    Returns:
        keys [B].

    >>> keys = example_keys(jax.random.key(0), jnp.array([5, 7]), jnp.array([0, 0]))
    >>> keys.shape
    (2,)
    """

    def fold(example: jax.Array, number: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, number), example)

    return jax.vmap(fold)(index, epoch)


def augment(
    images: jax.Array, keys: jax.Array, *, size: int, padding: int, flip: bool
) -> jax.Array:
    """Crop each image at random after zero padding, and mirror half of them.

    With size = H = W and padding = 0 nothing is cropped; this leaves the mirroring of
    images that the host has cropped already.

    Args:
        images: uint8 [B, H, W, C].
        keys: keys [B], one per image, from `example_keys`.
        size: height and width of the result in pixels.
        padding: zero pixels added on each of the four sides before the crop.
        flip: mirror left to right with probability one half.

    Returns:
        uint8 [B, size, size, C].

    Raises:
        InputError: a padded image smaller than the crop, or a negative padding.

    Reference:
        He et al. 2016, arXiv 1512.03385, section 4.2 (32x32 crops of CIFAR-10 images
        padded by 4 pixels, or of their mirror images).

    >>> images = jnp.full((2, 8, 8, 1), 255, jnp.uint8)
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> augment(images, keys, size=8, padding=2, flip=True).shape
    (2, 8, 8, 1)
    """
    _, height, width, channels = images.shape
    rows, columns = height + 2 * padding - size, width + 2 * padding - size
    if min(rows, columns, padding) < 0 or size < 1:
        raise InputError(
            f"A crop fits into the padded image: got {size}x{size} from "
            f"{height}x{width} padded by {padding}; lower --image-size or raise "
            "--crop-padding."
        )
    sides = ((padding, padding), (padding, padding), (0, 0))

    def vary(image: jax.Array, key: jax.Array) -> jax.Array:
        place_key, flip_key = jax.random.split(key)
        if rows or columns:
            limit = jnp.array([rows + 1, columns + 1])
            top, left = jax.random.randint(place_key, (2,), 0, limit)
            padded = jnp.pad(image, sides)
            # Under vmap a gather of whole windows: on two CPU cores as fast as indexing
            # for CIFAR, and 5 to 300 times faster for 224-pixel crops than gathers by
            # row and column or products with one-hot matrices.
            window = (size, size, channels)
            image = jax.lax.dynamic_slice(padded, (top, left, 0), window)
        if flip:
            mirror = jax.random.bernoulli(flip_key)
            image = jnp.where(mirror, image[:, ::-1], image)
        return image

    return jax.vmap(vary)(images, keys)


def center_crop(images: A, size: int) -> A:
    """Return the centre of each image; on odd margins, the upper left of the two.

    Args:
        images: [..., H, W, C], on the device or the host.
        size: height and width of the result in pixels.

    Returns:
        [..., size, size, C], of the same type.

    Raises:
        InputError: an image smaller than the crop.

    >>> center_crop(np.arange(16).reshape(1, 4, 4, 1), 2).ravel().tolist()
    [5, 6, 9, 10]
    """
    height, width = images.shape[-3:-1]
    if not 0 < size <= min(height, width):
        raise InputError(
            f"A crop fits into the image: got {size}x{size} from {height}x{width}; "
            "lower --image-size or set --resize."
        )
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size, :]


def normalize(
    images: jax.Array,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """Return (x / 255 - mean) / std, computed in float32.

    Args:
        images: uint8 [B, H, W, C].
        mean: C means, of values in 0 .. 1.
        std: C standard deviations, above 0.
        dtype: type of the result.

    Returns:
        dtype [B, H, W, C].

    Raises:
        InputError: another number of channels than of statistics, or a std of 0.

    >>> normalize(jnp.full((1, 1, 1, 1), 255, jnp.uint8), (0.5,), (0.25,)).item()
    2.0
    """
    channels = images.shape[-1]
    if not len(mean) == len(std) == channels or min(std) <= 0:
        raise InputError(
            f"Normalisation takes a mean and a std > 0 for each of {channels} "
            f"channels, got {tuple(mean)} and {tuple(std)}; give those of the data."
        )
    shift = jnp.asarray(mean, jnp.float32).reshape(1, 1, 1, -1)
    scale = jnp.asarray(std, jnp.float32).reshape(1, 1, 1, -1)
    values = images.astype(jnp.float32) / 255.0
    return ((values - shift) / scale).astype(dtype)
