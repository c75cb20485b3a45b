"""The network of the recipe for 94 % of CIFAR-10, and how it starts and is asked.

Eight layers with weights; the first makes patches of the images uncorrelated and stays
as it is. The figures are those of airbench94, as in `cifar10_94_recipe`.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.models import Network, from_linen
from lars_jax.models.layers import Conv
from lars_jax.models.pool import max_pool

WIDTHS = (64, 256, 256)
"""Channels of the three groups."""

PATCH, WHITENING_EPS = 2, 5e-4
"""Side of the patches that are whitened, and what is added to their variances."""

UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's own: between -1 and 1 over the root of the fan-in."""


def network(classes: int, width: float = 1.0, dtype: Any = jnp.float32) -> Network:
    """Return the network, whose whitening is zero until `whitening` has made it.

    Args:
        classes: number of logits.
        width: channels over those of the recipe; at least one is left.
        dtype: of activations and products; parameters are float32.

    >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    >>> params, _ = jax.eval_shape(network(10).init, jax.random.key(0), images)
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(params)))
    1971640
    """
    return from_linen(Layers(classes, width, dtype))


def identity(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Return a kernel [size, size, C, features] whose first features are its channels.

    The features beyond the channels are drawn.

    >>> kernel = identity(jax.random.key(0), (3, 3, 2, 2))
    >>> print(kernel[1, 1], jnp.abs(kernel).sum())
    [[1. 0.]
     [0. 1.]] 2.0
    """
    rows, columns, channels, features = shape
    own = jnp.arange(min(channels, features))
    passed = jnp.zeros((rows, columns, channels, own.size), dtype)
    passed = passed.at[rows // 2, columns // 2, own, own].set(1)
    if features <= channels:
        return passed
    drawn = UNIFORM(key, (rows, columns, channels, features - channels), dtype)
    return jnp.concatenate([passed, drawn], axis=-1)


class Group(nn.Module):
    """Two convolutions, the first of them pooled, each normalised and activated."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return `x` [B, H, W, C] as [B, H / 2, W / 2, features]."""
        for number in (1, 2):
            x = Conv(
                self.features,
                3,
                padding=1,
                dtype=self.dtype,
                kernel_init=identity,
                bias_init=None,
                name=f"conv{number}",
            )(x)
            x = max_pool(x, 2, 2) if number == 1 else x
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.6,
                epsilon=1e-12,
                use_scale=False,
                name=f"norm{number}",
            )(x.astype(jnp.float32))
            x = nn.gelu(x.astype(self.dtype), approximate=False)
        return x


class Layers(nn.Module):
    """Whitening, three groups, maxima over what is left of the image, linear layer."""

    classes: int
    width: float
    dtype: Any

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Return logits, float32 [B, classes], of images [B, H, W, C]."""
        # What tells neighbouring pixels apart is less than the steps of bfloat16.
        x = Conv(
            2 * PATCH**2 * images.shape[-1],
            PATCH,
            kernel_init=nn.initializers.zeros,
            name="whitening",
        )(images)
        x = nn.gelu(x.astype(self.dtype), approximate=False)
        for number, channels in enumerate(WIDTHS, start=1):
            features = max(1, round(self.width * channels))
            x = Group(features, self.dtype, name=f"group{number}")(x, train=train)
        x = jnp.max(x, axis=(1, 2)).astype(jnp.float32)
        head = nn.Dense(self.classes, use_bias=False, kernel_init=UNIFORM, name="head")
        return head(x) / 9


def whitening(images: jax.Array) -> jax.Array:
    """Return the kernel that makes patches of these images uncorrelated.

    Its features are eigenvectors e / sqrt(variance along e + eps) of the patches, those
    of the largest variance first, and then all of them once more with the other sign.

    Args:
        images: normalised, float32 [N, H, W, C].

    Returns:
        float32 [2, 2, C, 8 C].
    """
    *_, height, width, channels = images.shape
    patches = jnp.concatenate(
        [
            images[:, i : height - PATCH + 1 + i, j : width - PATCH + 1 + j]
            for i in range(PATCH)
            for j in range(PATCH)
        ],
        axis=-1,
    ).reshape(-1, PATCH**2 * channels)
    # The least variances are thousands of times less than the largest.
    products = jnp.matmul(patches.T, patches, precision=jax.lax.Precision.HIGHEST)
    variances, vectors = jnp.linalg.eigh(products / patches.shape[0])
    scaled = (vectors / jnp.sqrt(variances + WHITENING_EPS)[None])[:, ::-1]
    both = jnp.concatenate([scaled, -scaled], axis=1)
    return both.reshape(PATCH, PATCH, channels, -1)


def average_views(
    logits: Any, images: jax.Array, views: Literal["one", "six"]
) -> jax.Array:
    """Return the logits of images by themselves, or by six views of each.

    An image and what lies a pixel up and left or down and right of it, each and its
    mirror image: the image itself counts as much as both that are moved.

    Args:
        logits: function of images [B, H, W, C].
        images: normalised, [B, H, W, C].
        views: of each.
    """
    if views == "one":
        return logits(images)
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    seen = [padded[:, i : i + height, i : i + width] for i in (0, 1, 2)]
    seen += [view[:, :, ::-1] for view in seen]
    # One pass for all, so that the network is compiled once.
    found = logits(jnp.concatenate(seen)).reshape(6, images.shape[0], -1)
    weights = jnp.array([0.125, 0.25, 0.125, 0.125, 0.25, 0.125])
    return jnp.einsum("v,vbc->bc", weights, found)
