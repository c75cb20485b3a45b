"""Parameters of known networks as shapes, for measuring what needs no forward pass."""

from typing import Any

import jax
import jax.numpy as jnp

from lars_jax.models import build

VGG16_CONVOLUTIONS = (
    (3, 64),
    (64, 64),
    (64, 128),
    (128, 128),
    (128, 256),
    (256, 256),
    (256, 256),
    (256, 512),
    (512, 512),
    (512, 512),
    (512, 512),
    (512, 512),
    (512, 512),
)
"""Channels in and out of VGG16's 3x3 convolutions."""

VGG16_LINEAR = ((7 * 7 * 512, 4096), (4096, 4096), (4096, 1000))
"""Features in and out of its linear layers."""

IMAGE_SIZES = {"resnet50": 224, "alexnet": 227}
"""Side of the images of the networks that `lars_jax.models` builds."""


def shapes(network: str) -> Any:
    """Return the parameters of an ImageNet network as `jax.ShapeDtypeStruct`.

    >>> count(shapes("vgg16"))
    138357544
    """
    if network == "vgg16":
        return _vgg16()
    size = IMAGE_SIZES[network]
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    built = build(network, 1000)
    params, _ = jax.eval_shape(lambda: built.init(jax.random.key(0), images))
    return params


def count(params: Any) -> int:
    """Return the number of parameters in a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _vgg16() -> Any:
    layers = {
        f"conv{i:02}": {"kernel": (3, 3, *channels), "bias": channels[-1:]}
        for i, channels in enumerate(VGG16_CONVOLUTIONS)
    }
    layers |= {
        f"fc{6 + i}": {"kernel": features, "bias": features[-1:]}
        for i, features in enumerate(VGG16_LINEAR)
    }
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        layers,
        is_leaf=lambda node: isinstance(node, tuple),
    )
