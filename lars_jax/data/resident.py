"""Images that lie on the device whole, in the form that steps read fastest."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class KnownSize:
    """What the makers of a data set publish: its images and their height and width."""

    train: int
    test: int
    side: int


KNOWN_SIZES = {
    "digits": KnownSize(1437, 360, 8),
    "fashion_mnist": KnownSize(60_000, 10_000, 28),
    "cifar10": KnownSize(50_000, 10_000, 32),
}
"""Of data sets small enough to lie on a device, for programs compiled without them."""


@partial(jax.tree_util.register_dataclass, data_fields=["rows"], meta_fields=["shape"])
@dataclass(frozen=True)
class ResidentImages:
    """All images of a data set, one after another, from which a step takes some.

    Attributes:
        rows: uint8 [N, H W C], or its shape.
        shape: of an image, (H, W, C).

    >>> images = ResidentImages.of(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1))
    >>> images[np.array([2])].ravel().tolist(), len(images)
    ([8, 9, 10, 11], 3)
    """

    # A TPU keeps the last two axes in tiles of 128 columns. Of images [N, H, W, 3] each
    # pixel would fill a tile's row, and each step would copy the whole set to another
    # order: 617 MB in a step of ResNet-20 on a v5e, by its compiler.
    rows: Any
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, image: np.ndarray) -> "ResidentImages":
        """Return images of an array uint8 [N, H, W, C]."""
        height, width, channels = image.shape[1:]
        return cls(image.reshape(len(image), -1), (height, width, channels))

    @classmethod
    def like(cls, count: int, shape: tuple[int, int, int]) -> "ResidentImages":
        """Return the shapes of so many images."""
        rows = jax.ShapeDtypeStruct((count, math.prod(shape)), np.uint8)
        return cls(rows, shape)

    def __len__(self) -> int:
        """Return the number of images."""
        return self.rows.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return the images of some places, uint8 [..., H, W, C]."""
        found = self.rows[index]
        return found.reshape(*found.shape[:-1], *self.shape)
