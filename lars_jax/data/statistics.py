"""Mean and standard deviation of the channels, by which images are normalised."""

from typing import NamedTuple

import numpy as np

from lars_jax.errors import InputError


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel, of values x / 255 in 0 .. 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


KNOWN_STATISTICS = {
    # Over the 1,437 training digits.
    "digits": ChannelStatistics((0.3056,), (0.3761,)),
    # Over the 60,000 training images.
    "fashion_mnist": ChannelStatistics((0.2860,), (0.3530,)),
    # Over the 50,000 training images.
    "cifar10": ChannelStatistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    # The numbers that torchvision's ImageNet models are trained with.
    "imagenet2012": ChannelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Statistics of common training sets, by the data set's name without its version."""


def known_statistics(dataset: str) -> ChannelStatistics | None:
    """Return the statistics of a common data set, None for any other.

    Args:
        dataset: a name as `load_source` takes it.

    >>> known_statistics("cifar10:3.0.2").mean
    (0.4914, 0.4822, 0.4465)
    """
    return KNOWN_STATISTICS.get(dataset.split(":")[0])


def channel_statistics(image: np.ndarray) -> ChannelStatistics:
    r"""Compute the statistics of a set of images, exactly.

    .. math:: \mu_c = \frac{1}{255 n} \sum x_c, \quad
              \sigma_c^2 = \frac{1}{255^2 n} \sum x_c^2 - \mu_c^2

    over the n pixels of all images; the sums are of integers and lose nothing.

    Args:
        image: uint8 [N, H, W, C], at least one pixel.

    Returns:
        C means and C standard deviations; a constant channel has 1 as its deviation,
        so that it can be divided by.

    Raises:
        InputError: another type or shape, or no pixel.

    >>> channel_statistics(np.uint8([[[[0], [255]]]]))
    ChannelStatistics(mean=(0.5,), std=(0.5,))
    """
    if image.ndim != 4 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            "Channel statistics take uint8 [N, H, W, C] with at least one pixel, got "
            f"{image.dtype} {list(image.shape)}; convert the images."
        )
    channels, levels = image.shape[-1], np.arange(256)
    counts = np.zeros((channels, 256), np.int64)
    # In parts, as NumPy counts by eight bytes a pixel.
    for start in range(0, len(image), 256):
        part = image[start : start + 256].reshape(-1, channels)
        counts += [np.bincount(values, minlength=256) for values in part.T]
    pixels = image.size // channels
    total, squares = counts @ levels, counts @ levels**2
    mean = total / pixels / 255
    # n sum x^2 - (sum x)^2 in whole numbers: no cancellation of rounded terms.
    scatter = [
        pixels * int(s) - int(t) ** 2 for s, t in zip(squares, total, strict=True)
    ]
    std = np.sqrt(np.array(scatter, np.float64)) / pixels / 255
    return ChannelStatistics(
        tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
    )
