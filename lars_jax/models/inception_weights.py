"""Weights of Inception under the names of the PyTorch port of the graph."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.errors import InputError
from lars_jax.models.inception import inception
from lars_jax.models.inception_images import IMAGE_SIZE
from lars_jax.models.network import ModelState, Params

MOST_NAMES = 3
"""Names that a message lists of each kind."""

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
"""PyTorch's name of each kind of array."""

UNUSED = re.compile(r"fc\.bias|AuxLogits\..*|.*\.num_batches_tracked")
"""Names of arrays that are there and of which the graph has no use."""


def inception_weights(arrays: Mapping[str, np.ndarray]) -> tuple[Params, ModelState]:
    """Return parameters and state of `inception` from arrays with PyTorch's names.

    Kernels go from [O, I, H, W] to [H, W, I, O], the last layer from [1008, 2048] to
    [2048, 1008].

    Args:
        arrays: floating arrays, by the names of the state dict of
            `pt_inception-2015-12-05-6726825d`: `Conv2d_1a_3x3.conv.weight`, ...,
            `fc.weight`. `fc.bias`, `*.num_batches_tracked` and `AuxLogits.*` may be
            there and are not used.

    Returns:
        `params` and `model_state`, of float32 NumPy arrays.

    Raises:
        InputError: an array is missing, has another shape or no floating numbers, or
            is none of this network.

    >>> import numpy as np
    >>> inception_weights({"fc.weight": np.zeros((1000, 2048), np.float32)})
    Traceback (most recent call last):
        ...
    lars_jax.errors.InputError: weights of Inception must be those of the graph of ...
    """
    leaves, structure = jax.tree.flatten_with_path(_expected())
    _check(arrays, pytorch_shapes())
    found = [_from_pytorch(arrays[_pytorch_name(path)]) for path, _ in leaves]
    return structure.unflatten(found)


def pytorch_shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of every array that `inception_weights` takes."""
    leaves = jax.tree.leaves_with_path(_expected())
    return {_pytorch_name(path): _pytorch_shape(leaf.shape) for path, leaf in leaves}


@cache
def _expected() -> tuple[Params, ModelState]:
    images = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.float32)
    return jax.eval_shape(lambda: inception().init(jax.random.key(0), images))


def _pytorch_name(path: tuple[Any, ...]) -> str:
    *layers, leaf = (entry.key for entry in path if hasattr(entry, "key"))
    if layers[0] == "batch_stats":
        del layers[0]
    return ".".join((*layers, LEAVES[leaf]))


def _pytorch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-3:-1], *shape[:-2]) if len(shape) > 1 else shape


def _from_pytorch(array: np.ndarray) -> np.ndarray:
    order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
    return np.ascontiguousarray(array.transpose(order), np.float32)


def _check(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    wrong = [
        f"{name} {arrays[name].dtype}{list(arrays[name].shape)} for {list(shape)}"
        for name, shape in shapes.items()
        if name in arrays
        and (arrays[name].shape != shape or arrays[name].dtype.kind != "f")
    ]
    faults = {
        "missing": [name for name in shapes if name not in arrays],
        "of another shape or type": wrong,
        "unknown": [n for n in arrays if n not in shapes and not UNUSED.fullmatch(n)],
    }
    found = [
        f"{len(names)} {kind} ({', '.join(names[:MOST_NAMES])}"
        f"{', ...' if names[MOST_NAMES:] else ''})"
        for kind, names in faults.items()
        if names
    ]
    if found:
        raise InputError(
            "weights of Inception must be those of the graph of 2015-12-05 by their "
            f"PyTorch names; got {'; '.join(found)}: take the state dict of "
            "pt_inception-2015-12-05-6726825d, in float32"
        )
