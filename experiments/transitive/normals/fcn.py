"""The fully convolutional network of surface normals, FCN-32s.

    pool5 of VGG16, of the image and a border; fc6 of 7 x 7 and fc7 of 1 x 1, each with
    ReLU and dropout; a score for each codeword; bilinear interpolation to every pixel

The border lets fc6 be centred on pixels near the edge. Departures from Caffe's network:
pools drop the rows that do not fill a window, which the border has to spare, and
interpolation is two sums by fixed weights, not a convolution.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.transitive.networks import BLOCKS, linear
from lars_jax.cpu import convolve
from lars_jax.data import known_statistics, normalize
from lars_jax.errors import InputError
from lars_jax.models import Network, vgg16, vgg_layers

Params = Any


@dataclass(frozen=True)
class FCN:
    """A fully convolutional network.

    Attributes:
        network: whose convolutions it has, of `BLOCKS`.
        width: share of their channels, and of the units.
        height: of an image, pixels.
        length: width of an image, pixels.
        border: zero pixels around an image.
        cells: pixels of pool5 a side that fc6 reads.
        units: of fc6 and fc7.
        classes: K, scores of each pixel.
        dropout: share of fc6 and fc7 that is dropped in training.
        dtype: of activations and products.

    Raises:
        InputError: a border too small for `cells`.

    Reference:
        Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic
        Segmentation, 2015, https://arxiv.org/abs/1411.4038

    The paper's has 15 x 20 positions for 480 x 640 pixels:

    >>> FCN().positions
    (15, 20)
    """

    network: str = "vgg16"
    width: float = 1.0
    height: int = 480
    length: int = 640
    border: int = 99
    cells: int = 7
    units: int = 4096
    classes: int = 40
    dropout: float = 0.5
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what leaves pixels without a score."""
        for side, positions in zip(
            (self.height, self.length), self.positions, strict=True
        ):
            short = (positions + 1) * self.stride - self.offset < side
            if self.offset < 0 or short or positions < 1:
                least = self.stride * (self.cells - 2) // 2
                raise InputError(
                    f"border must let fc6, of {self.cells} cells of {self.stride} "
                    f"pixels, be centred on every pixel; got {self.border} for images "
                    f"of {side}: set it to {least} or more, and then some, or --cells "
                    "to less"
                )

    @property
    def stride(self) -> int:
        """Pixels between positions."""
        return 2 ** len(BLOCKS[self.network])

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of scores before interpolation."""
        rows, columns = (
            (side + 2 * self.border) // self.stride - self.cells + 1
            for side in (self.height, self.length)
        )
        return rows, columns

    @property
    def offset(self) -> int:
        """Rows of the interpolated scores above the image: 19 in the paper's network.

        Position i, of stride s, is centred s / 2 - 1 / 2 + s (cells - 1) / 2 - border
        + s i below the image's first pixel, and s - 1 / 2 + s i below that of the
        interpolated scores.
        """
        return self.border - self.stride * (self.cells - 2) // 2

    @property
    def trunk(self) -> Network:
        """From images [B, H, W, 3] to its last pool."""
        return vgg16(
            vgg_layers(BLOCKS[self.network])[-1],
            blocks=BLOCKS[self.network],
            width=self.width,
            dtype=jnp.dtype(self.dtype),
        )

    def init(self, key: jax.Array) -> Params:
        """Return parameters drawn by a key; scores begin at 0, as in the paper's."""
        keys = jax.random.split(key, 3)
        shape = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        trunk = self.trunk.init(keys[0], shape)[0]
        apply = partial(self.trunk.apply, trunk, {})
        channels = jax.eval_shape(apply, shape)[0].shape[-1]
        units = max(1, round(self.width * self.units))
        fan_in = self.cells**2 * channels
        draw = jax.random.normal
        return {
            "trunk": trunk,
            "fc6": {
                "kernel": (2 / fan_in) ** 0.5
                * draw(keys[1], (self.cells, self.cells, channels, units)),
                "bias": jnp.zeros(units),
            },
            "fc7": {
                "kernel": (2 / units) ** 0.5 * draw(keys[2], (units, units)),
                "bias": jnp.zeros(units),
            },
            "score": {
                "kernel": jnp.zeros((units, self.classes)),
                "bias": jnp.zeros(self.classes),
            },
        }

    def apply(
        self, params: Params, images: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Return scores float32 [B, H, W, K] of bytes [B, H, W, 3].

        Args:
            params: of `init`.
            images: of `height` and `length`.
            key: of dropout, in training; None: nothing is dropped.
        """
        statistics = known_statistics("imagenet2012")
        assert statistics is not None, "they are known"
        around = ((0, 0), (self.border,) * 2, (self.border,) * 2, (0, 0))
        x = jnp.pad(normalize(images, *statistics), around)
        x, _ = self.trunk.apply(params["trunk"], {}, x)
        dtype = jnp.dtype(self.dtype)
        keys = [None] * 2 if key is None else jax.random.split(key)
        x = convolve(x.astype(dtype), params["fc6"]["kernel"], 1, 0)
        bias = params["fc6"]["bias"].reshape(1, 1, 1, -1).astype(dtype)
        x = self._drop(keys[0], jax.nn.relu(x + bias))
        x = self._drop(keys[1], jax.nn.relu(linear(params["fc7"], x)))
        x = linear(params["score"], x.astype(jnp.float32))
        down, across = self._interpolation()
        # Sums, not products of matrices: XLA's compiler for GPUs finds no tiles for the
        # gradient of one with so few columns. To go when it does.
        x = jnp.sum(down[None, :, :, None, None] * x[:, None], axis=2)
        return jnp.sum(across[None, None, :, :, None] * x[:, :, None], axis=3)

    def _drop(self, key: Any, x: jax.Array) -> jax.Array:
        if key is None or not self.dropout:
            return x
        kept = jax.random.bernoulli(key, 1 - self.dropout, x.shape)
        return jnp.where(kept, x / (1 - self.dropout), jnp.zeros_like(x))

    def _interpolation(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self.positions
        return (
            bilinear(self.height, rows, self.stride, self.offset),
            bilinear(self.length, columns, self.stride, self.offset),
        )


def bilinear(pixels: int, positions: int, stride: int, offset: int) -> np.ndarray:
    """Return the matrix that interpolates scores at positions to pixels.

    w(p, i) = max(0, 1 - |p + offset - (s i + s - 1/2)| / s)

    which is a transposed convolution of stride s by the bilinear kernel of side 2 s.

    Args:
        pixels: of the image, along one side.
        positions: of scores.
        stride: s, pixels between positions.
        offset: interpolated scores before the first pixel.

    Returns:
        float32 [pixels, positions].

    >>> print(bilinear(3, 2, 2, 1))
    [[0.75 0.  ]
     [0.75 0.25]
     [0.25 0.75]]
    """
    centre = stride * np.arange(positions) + stride - 0.5
    place = np.arange(pixels)[:, None] + offset
    weight = 1 - np.abs(place - centre) / stride
    return np.maximum(weight, 0).astype(np.float32)
