"""Weights and images that anyone can draw: the recipe of `golden/inception.json`."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lars_jax.models.inception_weights import pytorch_shapes

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "inception.json").read_text()
)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith(("conv.weight", "fc.weight")):
        n *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("bn.weight"):
        n = 1 + 0.1 * n
    elif name.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    else:
        n *= 0.1
    return n.astype(np.float32)


def golden_images() -> np.ndarray:
    row, column, channel = np.indices((32, 32, 3))
    noise = np.random.RandomState(0).randint(0, 256, (32, 32, 3))
    waves = (5 * row + 3 * column + 40 * channel) % 256
    return np.stack([noise, waves]).astype(np.uint8)


def drawn_arrays() -> dict[str, Any]:
    """Every array of the network, under PyTorch's name and in its layout."""
    return {name: drawn(name, shape) for name, shape in pytorch_shapes().items()}


def zeros() -> dict[str, Any]:
    shapes = pytorch_shapes()
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
