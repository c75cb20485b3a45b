"""The trained features for images of one's own, in three lines:

from experiments.transitive.features import load_features
features = load_features("runs/mine")
print(features(images).shape)
"""

import os
from collections.abc import Callable

import jax
import numpy as np

from experiments.transitive.config import Config
from experiments.transitive.networks import prepare, triplet_network
from experiments.transitive.stages import WEIGHTS
from lars_jax.data.decode import resize_image
from lars_jax.errors import InputError
from lars_jax.files import local_path
from lars_jax.models import vgg16
from lars_jax.runs import read_run
from lars_jax.train.config import from_json
from lars_jax.train.weights import load_weights

BATCH = 64
"""Images whose features are taken at a time."""

Features = Callable[[np.ndarray], np.ndarray]
"""From images uint8 [N, H, W, 3] to features float32 [N, D]."""


def load_features(run: str | os.PathLike[str], tap: str = "pool5") -> Features:
    """Return the features of the triplet network of a pipeline.

    Args:
        run: the directory that `run` filled.
        tap: a layer of VGG16, such as `pool5` or `conv5_3`, of `VGG16_LAYERS`, whose
            activations are laid out in a row; or `head`, the output of the network,
            whose cosine was trained.

    Returns:
        A function from images uint8 [N, H, W, 3], which are resized to the size of the
        crops that were trained on, to features float32 [N, D].

    Raises:
        InputError: no pipeline is there, it has not come to its end, or the layer is
            none; when called, what is no such images.
    """
    directory = local_path(run)
    config = from_json(Config, read_run(directory)["config"])
    path = directory / "triplet" / WEIGHTS
    if not path.exists():
        raise InputError(
            f"features need a trained network; {directory} has no {path.name} of the "
            "stage triplet: run the pipeline to its end"
        )
    side, init = config.tracking.crop, config.triplet.init
    whole = triplet_network(config.model, config.triplet)
    shape = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    like, state = jax.eval_shape(lambda: whole.init(jax.random.key(0), shape))
    params = load_weights(path, like)
    network, own = whole, params
    if tap != "head":
        network = vgg16(tap, width=config.model.width, dtype=config.model.dtype)
        own = params["trunk"]

    @jax.jit
    def apply(params: object, images: jax.Array) -> jax.Array:
        features, _ = network.apply(params, state, prepare(images, init))
        return features.reshape(features.shape[0], -1)

    def features(images: np.ndarray) -> np.ndarray:
        _require_images(images)
        found = []
        for start in range(0, len(images), BATCH):
            part = [resize_image(one, side) for one in images[start : start + BATCH]]
            # One shape, compiled once: the last batch is filled up.
            filled = np.zeros((BATCH, side, side, 3), np.uint8)
            filled[: len(part)] = part
            found.append(np.asarray(apply(own, filled))[: len(part)])
        return np.concatenate(found)

    return features


def _require_images(images: np.ndarray) -> None:
    wrong = not isinstance(images, np.ndarray) or images.dtype != np.uint8
    if wrong or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
        got = f"{images.dtype} {list(images.shape)}" if hasattr(images, "dtype") else ""
        raise InputError(
            "features are taken of images uint8 [N, height, width, 3]; got "
            f"{got or type(images).__name__}: convert them"
        )
