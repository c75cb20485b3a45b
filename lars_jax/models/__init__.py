"""Networks as pairs of pure functions; the only part that imports flax."""

from typing import Any, Literal

import jax.numpy as jnp

from lars_jax.errors import InputError
from lars_jax.models.alexnet import alexnet
from lars_jax.models.inception import inception
from lars_jax.models.inception_images import inception_images
from lars_jax.models.inception_weights import inception_weights
from lars_jax.models.network import Network, chain, from_linen
from lars_jax.models.norm import (
    BATCH_NORM_MOMENTUM,
    BatchNorm,
    batch_statistics,
    merge_running,
    merge_statistics,
)
from lars_jax.models.resnet import DEPTHS, resnet, resnet_features
from lars_jax.models.vgg import (
    VGG16_BLOCKS,
    VGG16_CONVS,
    VGG16_LAYERS,
    fold_batch_norm,
    vgg16,
    vgg_head,
    vgg_layers,
)
from lars_jax.models.vgg_weights import vgg16_arrays, vgg16_weights

NETWORKS = ("alexnet", "alexnet_bn", *(f"resnet{depth}" for depth in DEPTHS))
"""Names that `build` knows."""

__all__ = [
    "BATCH_NORM_MOMENTUM",
    "NETWORKS",
    "VGG16_BLOCKS",
    "VGG16_CONVS",
    "VGG16_LAYERS",
    "BatchNorm",
    "Network",
    "alexnet",
    "batch_statistics",
    "build",
    "chain",
    "fold_batch_norm",
    "from_linen",
    "inception",
    "inception_images",
    "inception_weights",
    "merge_running",
    "merge_statistics",
    "resnet",
    "resnet_features",
    "vgg16",
    "vgg16_arrays",
    "vgg16_weights",
    "vgg_head",
    "vgg_layers",
]


def build(
    name: str,
    num_classes: int,
    *,
    dtype: Any = jnp.float32,
    stride_in: Literal["1x1", "3x3"] = "1x1",
    width: float = 1.0,
    stem_stride: Literal[1, 2, 4] = 1,
    bn_span: int | None = None,
    axis_name: str | None = None,
    wide_gradients: bool = False,
) -> Network:
    """Return the network of that name.

    Args:
        name: one of `NETWORKS`.
        num_classes: number of logits.
        dtype: dtype of activations and products; parameters, batch statistics and
            logits are float32.
        stride_in: where a bottleneck halves the image (see `resnet`); the networks
            without bottlenecks have no such choice.
        width: channels of a ResNet over those of the paper (see `resnet`).
        stem_stride: of the first convolution of a ResNet on small images.
        bn_span: ghost batch size, examples that one batch normalisation sees; None:
            the whole batch.
        axis_name: mapped axis over which the batch is spread, inside `shard_map` or
            `pmap`.
        wide_gradients: whether gradients of parameters are computed in float32 from
            products of `dtype`, in place of `dtype`; under `jit` they are summed over
            devices in what they are computed in.

    Raises:
        InputError: a name that is not one of `NETWORKS`.

    >>> import jax, jax.numpy as jnp
    >>> network = build("resnet20", 10)
    >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    >>> params, _ = jax.eval_shape(lambda: network.init(jax.random.key(0), images))
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(params)))
    269722
    """
    if name not in NETWORKS:
        raise InputError(
            f"a network must be one of {', '.join(NETWORKS)}; got {name!r}: "
            "choose one of these"
        )
    spread = {
        "dtype": dtype,
        "bn_span": bn_span,
        "axis_name": axis_name,
        "wide_gradients": wide_gradients,
    }
    if name.startswith("alexnet"):
        norm = "batch" if name == "alexnet_bn" else "lrn"
        return alexnet(num_classes, norm=norm, **spread)
    depth = int(name.removeprefix("resnet"))
    return resnet(
        num_classes,
        depth=depth,
        stride_in=stride_in,
        width=width,
        stem_stride=stem_stride,
        **spread,
    )
