"""Parameters of known networks as shapes, for measuring what needs no forward pass."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from lars_jax.models import build

VGG16_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, *(512,) * 6)
"""Channels of the image, and out of each of VGG16's 3x3 convolutions."""

VGG16_LINEAR = (7 * 7 * 512, 4096, 4096, 1000)
"""Features into its first linear layer, and out of each."""

IMAGE_SIZES = {"resnet50": 224, "alexnet": 227}
"""Side of the images of the networks that `lars_jax.models` builds."""


def shapes(network: str) -> Any:
    """Return the parameters of an ImageNet network as `jax.ShapeDtypeStruct`.

    >>> count(shapes("vgg16"))
    138357544
    """
    if network == "vgg16":
        pairs = itertools.pairwise(VGG16_CHANNELS)
        kernels = [
            *((3, 3, *pair) for pair in pairs),
            *itertools.pairwise(VGG16_LINEAR),
        ]
        return [
            jax.ShapeDtypeStruct(shape, jnp.float32)
            for kernel in kernels
            for shape in (kernel[-1:], kernel)
        ]
    built, size = build(network, 1000), IMAGE_SIZES[network]
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    params, _ = jax.eval_shape(lambda: built.init(jax.random.key(0), images))
    return params


def count(params: Any) -> int:
    """Return the number of parameters in a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
