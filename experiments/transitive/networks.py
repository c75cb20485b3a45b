"""The networks of the pipeline, and what they are shown."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from experiments.transitive.config import ModelConfig, TripletConfig
from lars_jax.data import known_statistics, normalize
from lars_jax.models import (
    VGG16_BLOCKS,
    Network,
    chain,
    vgg16,
    vgg_head,
    vgg_layers,
)
from lars_jax.models.vgg import Blocks

BLOCKS: dict[str, Blocks] = {
    "vgg16": VGG16_BLOCKS,
    "small": ((32, 1), (64, 1), (96, 1), (128, 1)),
}
"""Channels and convolutions of the blocks of each network."""


def trunk_layers(model: ModelConfig) -> tuple[str, ...]:
    """Return the layers of the convolutions, in order; the last is a pool.

    >>> trunk_layers(ModelConfig(network="small"))[-2:]
    ('conv4_1', 'pool4')
    """
    return vgg_layers(BLOCKS[model.network])


def trunk_network(
    model: ModelConfig, tap: str | None = None, norm_layers: Sequence[str] = ()
) -> Network:
    """Return the convolutions that all networks of the pipeline share.

    Args:
        model: which, their width and type.
        tap: the layer to end at, of `trunk_layers`; None: the last.
        norm_layers: as of `vgg16`.
    """
    return vgg16(
        trunk_layers(model)[-1] if tap is None else tap,
        blocks=BLOCKS[model.network],
        width=model.width,
        norm_layers=norm_layers,
        dtype=jnp.dtype(model.dtype),
    )


def triplet_network(model: ModelConfig, triplet: TripletConfig) -> Network:
    """Return convolutions and the two linear layers whose output is compared by cosine.

    Args:
        model: its convolutions, their width and type.
        triplet: units of the linear layers, and whether a ReLU ends it.

    Returns:
        A network from prepared images [B, S, S, 3] to [B, embedding]; its parameters
        are those of `trunk` and of `head`.

    At full width and 96 pixels it is the paper's, section 5:

    >>> network = triplet_network(ModelConfig(), TripletConfig())
    >>> images = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    >>> params, _ = jax.eval_shape(lambda: network.init(jax.random.key(0), images))
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(params)))
    37788480
    """
    dtype = jnp.dtype(model.dtype)
    units = (triplet.hidden, triplet.embedding)
    sizes = tuple(max(1, round(model.width * count)) for count in units)
    head = vgg_head(sizes, last_relu=triplet.last_relu, dtype=dtype)
    return chain(trunk=trunk_network(model), head=head)


def linear(params: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """Return a linear layer of the last axis, in the dtype of the input.

    Args:
        params: `kernel` [C, units] and `bias` [units].
        x: [..., C].

    >>> params = {"kernel": jnp.array([[1.0], [2.0]]), "bias": jnp.array([3.0])}
    >>> print(linear(params, jnp.array([[[1.0, 1.0]]])))
    [[[6.]]]
    """
    bias = jnp.expand_dims(params["bias"], range(x.ndim - 1))
    return x @ params["kernel"].astype(x.dtype) + bias.astype(x.dtype)


RMS = 50.0
"""Root mean square of a patch as the network is given it, in grey levels of 255."""


def scale_rms(patches: jax.Array, rms: float = RMS) -> jax.Array:
    """Return patches [..., P, P, C], the root mean square of each of which is `rms`.

    One without any contrast stays 0.

    >>> patch = jnp.array([3.0, -4.0]).reshape(1, 2, 1)
    >>> print(scale_rms(patch, rms=0.5**0.5).ravel().round(3))
    [ 0.6 -0.8]
    """
    square = jnp.mean(jnp.square(patches), axis=(-3, -2, -1), keepdims=True)
    inverse = jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))
    return patches * (rms * inverse)


def clean_patches(patches: jax.Array) -> jax.Array:
    """Return patches as features of the trained network are taken: with all colours.

    Args:
        patches: uint8 [B, P, P, 3].

    Returns:
        float32 [B, P, P, 3], each channel less its mean, scaled to `RMS`.

    >>> patches = jnp.array([[0, 20], [40, 60]], jnp.uint8).reshape(1, 2, 2, 1)
    >>> print(clean_patches(jnp.tile(patches, (1, 1, 1, 3)))[0, ..., 0].round(1))
    [[-67.1 -22.4]
     [ 22.4  67.1]]
    """
    wide = patches.astype(jnp.float32)
    return scale_rms(wide - jnp.mean(wide, axis=(1, 2), keepdims=True))


def prepare(images: jax.Array, init: str = "random") -> jax.Array:
    """Return bytes [B, S, S, 3] as a network is shown them.

    One that begins with the convolutions of context prediction is shown what those
    were; another what is normalised by the statistics of photographs, as the mean image
    that the code of the paper's ancestor subtracts is not published.

    Args:
        images: the bytes.
        init: `context` or `random`, as of `TripletConfig`.

    >>> print(prepare(jnp.full((1, 1, 1, 3), 124, jnp.uint8)).round(1)[0, 0, 0, 0])
    0.0
    """
    if init == "context":
        return clean_patches(images)
    statistics = known_statistics("imagenet2012")
    assert statistics is not None, "they are known"
    return normalize(images, *statistics)
