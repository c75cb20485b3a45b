"""The networks of the pipeline, and what they are shown."""

import jax
import jax.numpy as jnp

from experiments.transitive.config import ModelConfig, TripletConfig
from experiments.transitive.context_network import clean_patches
from lars_jax.data import known_statistics, normalize
from lars_jax.models import Network, chain, vgg16, vgg_head


def triplet_network(model: ModelConfig, triplet: TripletConfig) -> Network:
    """Return VGG16 and the two linear layers whose output is compared by its cosine.

    Args:
        model: its width and type.
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
    trunk = vgg16(width=model.width, dtype=dtype)
    return chain(
        trunk=trunk, head=vgg_head(sizes, last_relu=triplet.last_relu, dtype=dtype)
    )


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
