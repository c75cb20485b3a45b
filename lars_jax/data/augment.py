"""Variation of training images on the device, compiled into the training step.

The key of an example's variation is folded from the seed, the epoch and the index of
the example, never from its place in a batch. So the same example looks the same in the
same epoch for every batch size, micro-batch and number of devices.
"""

from collections.abc import Sequence
from functools import partial
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
    _, height, width, _ = images.shape
    rows, columns = height + 2 * padding - size, width + 2 * padding - size
    if min(rows, columns, padding) < 0 or size < 1:
        raise InputError(
            f"A crop fits into the padded image: got {size}x{size} from "
            f"{height}x{width} padded by {padding}; lower --image-size or raise "
            "--crop-padding."
        )

    def vary(image: jax.Array, key: jax.Array) -> jax.Array:
        place_key, flip_key = jax.random.split(key)
        if rows or columns:
            limit = jnp.array([rows + 1, columns + 1])
            place = jax.random.randint(place_key, (2,), 0, limit)
            image = jax.lax.platform_dependent(
                image,
                place,
                tpu=partial(_window_by_products, size=size, padding=padding),
                default=partial(_window, size=size, padding=padding),
            )
        if flip:
            mirror = jax.random.bernoulli(flip_key)
            image = jnp.where(mirror, image[:, ::-1], image)
        return image

    return jax.vmap(vary)(images, keys)


def _window(
    image: jax.Array, place: jax.Array, *, size: int, padding: int
) -> jax.Array:
    """Return the window at a place of an image that is padded with zeros."""
    sides = ((padding, padding), (padding, padding), (0, 0))
    # Under vmap a gather of whole windows: on two CPU cores as fast as indexing for
    # CIFAR, and 5 to 300 times faster for 224-pixel crops than gathers by row and
    # column or products with one-hot matrices.
    return jax.lax.dynamic_slice(
        jnp.pad(image, sides), (*place, 0), (size, size, image.shape[-1])
    )


def _window_by_products(
    image: jax.Array, place: jax.Array, *, size: int, padding: int
) -> jax.Array:
    # A TPU takes a gather of windows one by one: a step of ResNet-20 had 5,670 launches
    # on a v5e, and has 1,097. Products are what it is made for, and exact: bfloat16
    # has all numbers of a byte, and of each sum all terms but one are zero.
    def chosen(first: jax.Array, length: int) -> jax.Array:
        wanted = first - padding + jnp.arange(size)
        return (wanted[:, None] == jnp.arange(length)[None]).astype(jnp.bfloat16)

    height, width, _ = image.shape
    rows, columns = chosen(place[0], height), chosen(place[1], width)
    window = jnp.einsum("ih,hwc,jw->ijc", rows, image.astype(jnp.bfloat16), columns)
    return window.astype(image.dtype)


def resized_crops(
    images: jax.Array,
    keys: jax.Array,
    *,
    size: int,
    least: float,
    flip: bool,
    stretch: float = 0.15,
) -> jax.Array:
    """Resize a random part of each image, and mirror half of them.

    The sides of a part are those of its image times u e^v and u e^-v, u uniform in
    [least, 1] and v in [-stretch, stretch], and at most the image's own.

    Args:
        images: uint8 [B, H, W, C].
        keys: keys [B], one per image, from `example_keys`.
        size: height and width of the result in pixels.
        least: share of the sides, above 0 and at most 1.
        flip: mirror left to right with probability one half.
        stretch: logarithm of the largest change of the aspect ratio, halved.

    Returns:
        float32 [B, size, size, C], 0 to 255.

    Raises:
        InputError: a share out of range.

    Reference:
        Szegedy et al.: Going Deeper with Convolutions, 2014, section 6, by area.

    >>> images = jnp.full((2, 8, 8, 1), 200, jnp.uint8)
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> vary = jax.jit(partial(resized_crops, size=6, least=0.5, flip=True))
    >>> parts = vary(images, keys)
    >>> print(parts.shape, parts.min().round(), parts.max().round())
    (2, 6, 6, 1) 200.0 200.0
    """
    if not 0 < least <= 1 or size < 1 or stretch < 0:
        raise InputError(
            "a part is more than 0 and at most 1 of an image's sides, and has a pixel "
            f"at least; got {least}, {size} pixels: correct them"
        )
    sides = jnp.asarray(images.shape[1:3], jnp.float32)
    channels = images.shape[3]

    def vary(image: jax.Array, key: jax.Array) -> jax.Array:
        share_key, shape_key, place_key, flip_key = jax.random.split(key, 4)
        share = jax.random.uniform(share_key, (), jnp.float32, least, 1.0)
        shape = jax.random.uniform(shape_key, (), jnp.float32, -stretch, stretch)
        part = jnp.minimum(share * jnp.exp(jnp.stack([shape, -shape])), 1.0)
        place = jax.random.uniform(place_key, (2,), jnp.float32) * (1.0 - part)
        scale = size / (part * sides)
        found = jax.image.scale_and_translate(
            image.astype(jnp.float32),
            (size, size, channels),
            (0, 1),
            scale,
            -place * sides * scale,
            "linear",
        )
        if flip:
            mirror = jax.random.bernoulli(flip_key)
            found = jnp.where(mirror, found[:, ::-1], found)
        return found

    return jax.vmap(vary)(images, keys)


def jitter_colours(images: jax.Array, keys: jax.Array, *, strength: float) -> jax.Array:
    """Change saturation, contrast and brightness of each image at random.

    Each by a factor e^v, v uniform in [-strength, strength]: saturation from the mean
    of the channels of a pixel, contrast from the mean of the image, brightness from 0.

    Args:
        images: float [B, H, W, C], 0 to 255.
        keys: keys [B], one per image.
        strength: 0 changes nothing.

    Returns:
        float32 [B, H, W, C], 0 to 255.

    Reference:
        Howard: Some Improvements on Deep Convolutional Neural Network Based Image
        Classification, 2013, section 2.2.

    >>> keys = jax.random.split(jax.random.key(1), 1)
    >>> image = jnp.full((1, 1, 1, 3), 100.0)
    >>> print(jitter_colours(image, keys, strength=0.3).ravel().round(1))
    [121. 121. 121.]
    """

    def vary(image: jax.Array, key: jax.Array) -> jax.Array:
        factors = jnp.exp(jax.random.uniform(key, (3,), jnp.float32, -1, 1) * strength)
        saturation, contrast, brightness = factors
        grey = jnp.mean(image, axis=-1, keepdims=True)
        image = grey + saturation * (image - grey)
        mean = jnp.mean(image)
        image = mean + contrast * (image - mean)
        return jnp.clip(brightness * image, 0.0, 255.0)

    return jax.vmap(vary)(images.astype(jnp.float32), keys)


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
