"""VGG16's weights under the names and in the layouts of torchvision and of Caffe.

Kernels here are [size, size, C, features], there [features, C, size, size]; fc6 here
reads a pooled map pixel by pixel, there channel by channel. torchvision's network is
shown what networks here are: red, green and blue, normalised by the statistics of
ImageNet. Caffe's is shown blue, green and red in grey levels less their mean, so that
its first kernel is turned round and scaled. The means differ by less than half a grey
level, which is left as it is.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from lars_jax.errors import InputError
from lars_jax.models.network import Params
from lars_jax.models.vgg import EPSILON, VGG16_BLOCKS, Blocks, vgg_layers

Names = Literal["torchvision", "caffe"]

DEVIATIONS = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's channels, by which networks here are shown pixels, from 0 to 1. They
stand in `lars_jax.data` as well, of which networks know nothing; a test holds both
together."""

HEAD = {"fc6": 0, "fc7": 3, "fc8": 6}
"""Linear layers, by their place in torchvision's classifier."""


def vgg16_weights(
    arrays: Mapping[str, np.ndarray], blocks: Blocks = VGG16_BLOCKS
) -> Params:
    """Return the layers that arrays with names of torchvision or of Caffe hold.

    torchvision's are those of `state_dict()` of `vgg16` or of `vgg16_bn`, whose batch
    normalisation is folded into the convolution before it:

        W' = g W / sqrt(v + epsilon),  b' = g (b - m) / sqrt(v + epsilon) + beta

    Caffe's are `conv1_1/0`, the kernel, and `conv1_1/1`, the bias, as this leaves them:
    `np.savez(path, **{f"{name}/{k}": blob.data for name, blobs in net.params.items()
    for k, blob in enumerate(blobs)})`. Linear layers may be convolutions there.

    Args:
        arrays: floating, by name; others than VGG16's are left aside.
        blocks: of the network, as of `vgg16`.

    Returns:
        `conv1_1` and so on, and those of `fc6`, `fc7` and `fc8` that are there, each
        `kernel` and `bias`, float32.

    Raises:
        InputError: a convolution is missing, or an array is of another shape.

    Source:
        torchvision/models/vgg.py; VGG_ILSVRC_16_layers of Caffe's Model Zoo

    >>> kernel = np.arange(6.0).reshape(2, 3, 1, 1)
    >>> arrays = {"features.0.weight": kernel, "features.0.bias": np.zeros(2)}
    >>> print(vgg16_weights(arrays, ((2, 1),))["conv1_1"]["kernel"][0, 0])
    [[0. 3.]
     [1. 4.]
     [2. 5.]]
    """
    names = _naming(arrays)
    normalised = names == "torchvision" and "features.1.running_mean" in arrays
    layers: dict[str, dict[str, np.ndarray]] = {}
    channels = 3
    for layer, place in _places(blocks, 3 if normalised else 2).items():
        kernel, bias = _pair(arrays, names, layer, f"features.{place}")
        if kernel.ndim != 4 or kernel.shape[1] != channels:
            raise InputError(
                f"{layer} takes {channels} channels, [features, {channels}, size, size]"
                f"; got {list(kernel.shape)}: give the blocks that it was trained with"
            )
        channels = len(kernel)
        if normalised:
            kernel, bias = _folded(arrays, f"features.{place + 1}", kernel, bias)
        kernel = kernel.transpose(2, 3, 1, 0)
        if layer == "conv1_1" and names == "caffe":
            kernel = kernel[:, :, ::-1] * (255 * DEVIATIONS)[:, None]
        layers[layer] = {"kernel": np.ascontiguousarray(kernel), "bias": bias}
    for layer, place in HEAD.items():
        if _key(names, layer, f"classifier.{place}", 0) not in arrays:
            continue
        kernel, bias = _pair(arrays, names, layer, f"classifier.{place}")
        rows = len(bias)
        # Networks that slide over a map have it as a convolution, old Caffe as 4 axes.
        if kernel.shape[:1] != (rows,) and kernel.shape[:3] != (1, 1, rows):
            raise InputError(
                f"{layer} has a row of weights for each bias; got {list(kernel.shape)} "
                f"and {rows}: give both of one network"
            )
        kernel = kernel.reshape(rows, -1)
        if layer == "fc6":
            side = _side(kernel.shape[1], channels)
            maps = kernel.reshape(-1, channels, side, side)
            kernel = maps.transpose(0, 2, 3, 1).reshape(rows, -1)
        layers[layer] = {"kernel": np.ascontiguousarray(kernel.T), "bias": bias}
    return layers


def vgg16_arrays(
    params: Any, names: Names, blocks: Blocks = VGG16_BLOCKS
) -> dict[str, np.ndarray]:
    """Return layers as torchvision or Caffe has them: `vgg16_weights`, undone.

    Args:
        params: layers by name, each `kernel` and `bias`; batch normalisation is to be
            folded into them first, by `fold_batch_norm`.
        names: whose.
        blocks: of the network, as of `vgg16`.

    Raises:
        InputError: a convolution is missing, or fc6 does not go on from the last.

    >>> layers = {"conv1_1": {"kernel": np.ones((1, 1, 3, 2)), "bias": np.zeros(2)}}
    >>> vgg16_arrays(layers, "torchvision", ((2, 1),))["features.0.weight"].shape
    (2, 3, 1, 1)
    """
    params = jax.device_get(params)
    arrays, channels = {}, 3
    for layer, place in _places(blocks, 2).items():
        if layer not in params:
            raise InputError(
                f"VGG16 has a layer {layer}; got {', '.join(params) or 'none'}: give "
                "the blocks of the network"
            )
        kernel = np.asarray(params[layer]["kernel"], np.float32)
        channels = kernel.shape[-1]
        if layer == "conv1_1" and names == "caffe":
            kernel = (kernel / (255 * DEVIATIONS)[:, None])[:, :, ::-1]
        own = kernel.transpose(3, 2, 0, 1), params[layer]["bias"]
        _put(arrays, names, layer, f"features.{place}", *own)
    for layer, place in HEAD.items():
        if layer not in params:
            continue
        kernel = np.asarray(params[layer]["kernel"], np.float32).T
        if layer == "fc6":
            side = _side(kernel.shape[1], channels)
            maps = kernel.reshape(-1, side, side, channels)
            kernel = maps.transpose(0, 3, 1, 2).reshape(len(kernel), -1)
        own = kernel, params[layer]["bias"]
        _put(arrays, names, layer, f"classifier.{place}", *own)
    return arrays


def _places(blocks: Blocks, apart: int) -> dict[str, int]:
    """Return the convolutions by their place in torchvision's features.

    >>> _places(((64, 2), (128, 1)), 2)
    {'conv1_1': 0, 'conv1_2': 2, 'conv2_1': 5}
    """
    places, place = {}, 0
    for layer in vgg_layers(blocks):
        if layer.startswith("pool"):
            place += 1
        else:
            places[layer] = place
            place += apart
    return places


def _naming(arrays: Mapping[str, np.ndarray]) -> Names:
    if "features.0.weight" in arrays:
        return "torchvision"
    if "conv1_1/0" in arrays:
        return "caffe"
    raise InputError(
        "VGG16's weights have torchvision's names, as features.0.weight, or Caffe's, "
        f"as conv1_1/0; got {', '.join(list(arrays)[:3]) or 'none'}: save them so"
    )


def _key(names: Names, layer: str, place: str, which: int) -> str:
    if names == "caffe":
        return f"{layer}/{which}"
    return f"{place}.{('weight', 'bias')[which]}"


def _pair(
    arrays: Mapping[str, np.ndarray], names: Names, layer: str, place: str
) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for which in range(2):
        key = _key(names, layer, place, which)
        if key not in arrays:
            raise InputError(
                f"VGG16 has a layer {layer}, {key} in these names; got none: give all "
                "of them, and the blocks of the network"
            )
        found.append(np.asarray(arrays[key], np.float32))
    # Caffe of old gave biases four axes.
    return found[0], found[1].reshape(-1)


def _put(
    arrays: dict[str, np.ndarray],
    names: Names,
    layer: str,
    place: str,
    kernel: Any,
    bias: Any,
) -> None:
    for which, array in enumerate((kernel, bias)):
        own = np.ascontiguousarray(array, np.float32)
        arrays[_key(names, layer, place, which)] = own


def _folded(
    arrays: Mapping[str, np.ndarray], place: str, kernel: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    names = ("weight", "bias", "running_mean", "running_var")
    if missing := [name for name in names if f"{place}.{name}" not in arrays]:
        raise InputError(
            f"batch normalisation has {', '.join(names)}; got no {place}.{missing[0]}: "
            "give all of them"
        )
    scale, shift, mean, variance = (arrays[f"{place}.{name}"] for name in names)
    factor = (scale / np.sqrt(variance + EPSILON)).astype(np.float32)
    moved = np.asarray(factor * (bias - mean) + shift, np.float32)
    return kernel * factor[:, None, None, None], moved


def _side(inputs: int, channels: int) -> int:
    side = round((inputs / channels) ** 0.5)
    if side * side * channels != inputs:
        raise InputError(
            f"fc6 reads a square of pixels of {channels} channels; got {inputs} inputs:"
            " give the blocks of the network"
        )
    return side
