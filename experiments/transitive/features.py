"""The trained features for images of one's own, in three lines:

from experiments.transitive.features import load_features
features = load_features("runs/mine")
print(features(images).shape)
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.transitive.config import Config
from experiments.transitive.networks import (
    clean_patches,
    prepare,
    triplet_network,
    trunk_network,
)
from lars_jax.data.decode import resize_image
from lars_jax.errors import InputError
from lars_jax.files import local_path
from lars_jax.runs import read_run
from lars_jax.runs.stages import LOG
from lars_jax.train.config import from_json
from lars_jax.train.weights import load_weights

BATCH = 64
"""Images whose features are taken at a time."""

WEIGHTS = "weights.safetensors"
"""What a stage that trains leaves."""

HEAD, LAST = "head", "last"
"""Name the output of the network, and the last layer of its convolutions."""

Features = Callable[[np.ndarray], np.ndarray]
"""From images uint8 [N, H, W, 3] to features float32 [N, D]."""


def load_features(run: str | os.PathLike[str], tap: str = LAST) -> Features:
    """Return the features of the triplet network of a pipeline.

    Args:
        run: the directory that `run` filled.
        tap: a layer of the convolutions, such as `pool5` or `conv5_3` of VGG16, whose
            activations are laid out in a row; `last`, the last of them; or `head`, the
            output of the network, whose cosine was trained.

    Returns:
        A function from images uint8 [N, H, W, 3], which are resized to the size that
        the network was shown in training, to features float32 [N, D].

    Raises:
        InputError: no pipeline is there, it has not come to its end, or the layer is
            none; when called, what is no such images.
    """
    directory = local_path(run)
    read_run(directory)
    path = directory / "triplet" / WEIGHTS
    if not path.exists():
        raise InputError(
            f"features need a trained network; {directory} has no {path.name} of the "
            "stage triplet: run the pipeline to its end"
        )
    # Of the training itself: a later command may have changed that of the pipeline.
    trained = read_run(directory / "triplet" / LOG / "run")
    config = from_json(Config, trained["config"])
    return triplet_features(config, load_weights(path, drawn_weights(config)), tap)


def image_size(config: Config) -> int:
    """Return the pixels a side of the images that the networks are shown."""
    return config.model.image_size or config.tracking.crop


def mirrored(features: Features) -> Features:
    """Return the sum of the features of each image and of its mirror image.

    >>> of_left = lambda images: images[:, 0, :1, 0]
    >>> print(mirrored(of_left)(np.arange(6).reshape(1, 1, 2, 3)))
    [[3]]
    """
    return lambda images: features(images) + features(images[:, :, ::-1])


def drawn_weights(config: Config, seed: int | None = None) -> Any:
    """Return the weights of the triplet network before it is trained.

    Args:
        config: of the pipeline.
        seed: what they are drawn by; None: their shapes and dtypes alone.
    """
    network, side = triplet_network(config.model, config.triplet), image_size(config)
    shape = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    if seed is None:
        return jax.eval_shape(lambda: network.init(jax.random.key(0), shape))[0]
    return jax.jit(lambda: network.init(jax.random.key(seed), shape)[0])()


def triplet_features(config: Config, weights: Any, tap: str = LAST) -> Features:
    """Return the features of a triplet network with such weights.

    Args:
        config: of the pipeline.
        weights: of `triplet_network`.
        tap: as of `load_features`.
    """
    init = config.triplet.init
    if tap != HEAD:
        return trunk_features(
            config, weights["trunk"], tap, lambda images: prepare(images, init)
        )
    network = triplet_network(config.model, config.triplet)

    def apply(images: jax.Array) -> jax.Array:
        return network.apply(weights, {}, prepare(images, init))[0]

    return _of_images(apply, image_size(config))


def trunk_features(
    config: Config, weights: Any, tap: str, shown: Callable[[jax.Array], jax.Array]
) -> Features:
    """Return the activations of convolutions, laid out in a row.

    Args:
        config: of the pipeline.
        weights: of `vgg16`.
        tap: a layer.
        shown: from bytes [B, S, S, 3] to what the network is shown.
    """
    network = trunk_network(config.model, None if tap == LAST else tap)

    def apply(images: jax.Array) -> jax.Array:
        features, _ = network.apply(weights, {}, shown(images))
        return features.reshape(features.shape[0], -1)

    return _of_images(apply, image_size(config))


def context_features(config: Config, weights: Path, tap: str = LAST) -> Features:
    """Return the features of the context network in a file of its convolutions."""
    like = drawn_weights(config)["trunk"]
    return trunk_features(config, load_weights(weights, like), tap, clean_patches)


def hog_features(config: Config) -> Features:
    """Return histograms of oriented gradients of images at the size of crops."""
    from experiments.transitive.hog import hog

    def features(images: np.ndarray) -> np.ndarray:
        _require_images(images)
        return hog(_resized(images, config.tracking.crop))

    return features


def _of_images(apply: Callable[[jax.Array], jax.Array], side: int) -> Features:
    compiled = jax.jit(apply)

    def features(images: np.ndarray) -> np.ndarray:
        _require_images(images)
        found = []
        for start in range(0, len(images), BATCH):
            part = _resized(images[start : start + BATCH], side)
            # One shape, compiled once: the last batch is filled up.
            filled = np.zeros((BATCH, side, side, 3), np.uint8)
            filled[: len(part)] = part
            found.append(np.asarray(compiled(filled))[: len(part)])
        return np.concatenate(found)

    return features


def _resized(images: np.ndarray, side: int) -> np.ndarray:
    return np.stack([resize_image(image, side) for image in images])


def _require_images(images: np.ndarray) -> None:
    wrong = not isinstance(images, np.ndarray) or images.dtype != np.uint8
    if wrong or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
        got = f"{images.dtype} {list(images.shape)}" if hasattr(images, "dtype") else ""
        raise InputError(
            "features are taken of images uint8 [N, height, width, 3]; got "
            f"{got or type(images).__name__}: convert them"
        )
