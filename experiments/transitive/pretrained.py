"""Convolutions that the pipeline has learned, made fit for another network."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.transitive.networks import BLOCKS
from experiments.transitive.trunk import TrunkConfig
from lars_jax.data import known_statistics, normalize
from lars_jax.errors import InputError
from lars_jax.models import vgg16, vgg16_weights, vgg_layers
from lars_jax.train.weights import load_arrays

PLACES = ("params/trunk/", "trunk/", "params/", "")
"""Where a file has the convolutions: of the triplet network, and alone."""

OTHERS = {"features.0.weight", "conv1_1/0"}
"""What torchvision and Caffe call the first kernel."""


def pretrained_trunk(model: TrunkConfig, like: Any, images: np.ndarray) -> Any:
    """Return the convolutions that a network begins with.

    Args:
        model: which, from where.
        like: those of the network.
        images: uint8 [N, H, W, 3], some that it will be trained on.

    Raises:
        InputError: as of `load_trunk`.
    """
    weights = load_trunk(model, like)
    return rescaled(weights, model, images) if model.rescale else weights


def load_trunk(model: TrunkConfig, like: Any) -> Any:
    """Return the convolutions of a file of weights; what else it has is left aside.

    Args:
        model: says which file, and what its network was shown.
        like: the convolutions of the network.

    Raises:
        InputError: a convolution is missing, or of another shape.
    """
    assert model.init_from is not None, "there is a file"
    path = Path(model.init_from)
    found = load_arrays(path)
    first = "conv1_1/kernel"
    place = next((place for place in PLACES if place + first in found), None)
    if place is None and OTHERS & found.keys():
        layers = vgg16_weights(found, BLOCKS[model.network])
        found = {
            f"{layer}/{k}": v for layer, own in layers.items() for k, v in own.items()
        }
        place = ""
    if place is None:
        raise InputError(
            f"init_from needs the convolutions of a network; {path} has no {first}: "
            "name the weights.safetensors of a stage triplet or context, or VGG16's "
            "with the names of torchvision or Caffe"
        )
    weights = {}
    for layer, arrays in like.items():
        weights[layer] = {}
        for name, expected in arrays.items():
            array = found.get(f"{place}{layer}/{name}")
            if array is None or array.shape != expected.shape:
                got = "none" if array is None else f"{list(array.shape)}"
                raise InputError(
                    f"init_from must be of this network; {path} has {got} for "
                    f"{layer}/{name} {list(expected.shape)}: set --network and --width "
                    "to those that it was trained with"
                )
            weights[layer][name] = np.asarray(array, np.float32)
    # Networks here are shown pixels of a root mean square of about 1.
    weights["conv1_1"]["kernel"] = weights["conv1_1"]["kernel"] * model.shown_rms
    return weights


def rescaled(weights: Any, model: TrunkConfig, images: np.ndarray) -> Any:
    """Return the weights, each layer's output of a root mean square of 1.

    W' = W / r, b' = b / (r r_before), r the root mean square after the ReLU of the
    layer, given inputs that are scaled so, r_before the product of those before it.

    A ReLU lets scales through, so every feature stays what it was, up to a factor. The
    code of context prediction advises it, as its layers are of very different scales.

    Args:
        weights: of the convolutions.
        model: whose they are.
        images: uint8 [N, H, W, 3].

    Reference:
        Krähenbühl, Doersch, Donahue, Darrell: Data-dependent Initializations of
        Convolutional Neural Networks, 2015, https://arxiv.org/abs/1511.06856
    """
    layers = vgg_layers(BLOCKS[model.network])
    names = tuple(layer for layer in layers if layer.startswith("conv"))
    network = vgg16(names, blocks=BLOCKS[model.network], width=model.width)
    statistics = known_statistics("imagenet2012")
    assert statistics is not None, "they are known"

    @jax.jit
    def sizes(weights: Any, images: jax.Array) -> Any:
        taps, _ = network.apply(weights, {}, normalize(images, *statistics))
        return jax.tree.map(lambda x: jnp.sqrt(jnp.mean(jnp.square(x))), taps)

    found = jax.device_get(sizes(weights, jnp.asarray(images)))
    scaled, before = {}, 1.0
    for name in names:
        # A layer that is silent on these pictures has nothing to be scaled by.
        after = float(found[name]) or before
        layer = weights[name]
        scaled[name] = {
            "kernel": layer["kernel"] * (before / after),
            "bias": layer["bias"] / after,
        }
        before = after
    return scaled
