"""A whole data set as two arrays, for the many that fit on the device."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lars_jax.data.decode import Fit
from lars_jax.data.source import ArraySource, Source, image_size, read_examples
from lars_jax.errors import InputError

# Large enough that the cost of a call vanishes, small enough to spread over threads.
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Labelled images of one size.

    Attributes:
        image: uint8 [N, H, W, C].
        label: int32 [N].
    """

    image: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


def to_arrays(
    source: Source,
    *,
    resize: int | None = None,
    fit: Fit = "warp",
    threads: int | None = None,
) -> ImageArrays:
    """Read a whole source into memory.

    Args:
        source: the data set.
        resize: every image to this square; None keeps the sizes, which must agree.
        fit: how, as `resize_image` has it.
        threads: decoders at work at a time; None: one per core.

    Returns:
        The images and labels, in the order of the source.

    Raises:
        InputError: an empty source, images of unequal size, an unreadable image, or a
            label that no class has.

    >>> from lars_jax.data.digits import digits_source
    >>> to_arrays(digits_source("test")).image.shape
    (360, 8, 8, 1)
    """
    if isinstance(source, ArraySource) and resize is None:
        return ImageArrays(source.image, source.label)
    size = len(source)
    if size == 0:
        raise InputError(
            f"A data set needs examples, {source.name} has none; add some."
        )
    first = read_batch(source, [0], resize=resize, fit=fit)
    image = np.empty((size, *first.image.shape[1:]), np.uint8)
    label = np.empty(size, np.int32)

    def fill(start: int) -> None:
        stop = min(start + _CHUNK, size)
        part = read_batch(source, range(start, stop), resize=resize, fit=fit)
        require_equal_shape(source, image.shape[1:], part.image.shape[1:])
        image[start:stop], label[start:stop] = part.image, part.label

    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        for _ in pool.map(fill, range(0, size, _CHUNK)):
            pass
    return ImageArrays(image, label)


def usable_cores(most: int = 16) -> int:
    """Return the number of cores that this process may use, and no more than the most.

    Decoders beyond the number of cores slow one another down, and a container is often
    given fewer than the machine has.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, most)


def read_batch(
    source: Source,
    indices: Sequence[int],
    *,
    resize: int | None = None,
    fit: Fit = "warp",
) -> ImageArrays:
    """Read some examples of a source into arrays.

    Args:
        source: the data set.
        indices: places in it, at least one.
        resize: every image to this square; None keeps the sizes, which must agree.
        fit: how, as `resize_image` has it.

    Returns:
        The images and labels, in the order of the indices.

    Raises:
        InputError: as `to_arrays`.

    >>> from lars_jax.data.digits import digits_source
    >>> read_batch(digits_source("test"), [3, 5], resize=32).image.shape
    (2, 32, 32, 1)
    """
    examples = read_examples(source, indices, size=resize, fit=fit)
    images, labels = zip(*examples, strict=True)
    for image in images:
        require_equal_shape(source, images[0].shape, image.shape)
    return ImageArrays(np.stack(images), np.array(labels, np.int32))


def require_one_size(source: Source, *, threads: int | None = None) -> None:
    """Raise `InputError` unless all images have one size, told by their headers alone.

    Args:
        source: the data set, with at least one example.
        threads: readers at work at a time; None: one per core.
    """
    expected = image_size(source, 0)

    def look(start: int) -> None:
        for index in range(start, min(start + _CHUNK, len(source))):
            require_equal_shape(source, expected, image_size(source, index))

    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        for _ in pool.map(look, range(0, len(source), _CHUNK)):
            pass


def require_equal_shape(
    source: Source, expected: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Raise `InputError` if two images of a source fit into no array."""
    if shape != expected:
        sizes = ("x".join(map(str, lengths)) for lengths in (expected, shape))
        raise InputError(
            f"Images of one run have one size, {source.name} has "
            f"{' and '.join(sizes)}; set --resize."
        )
