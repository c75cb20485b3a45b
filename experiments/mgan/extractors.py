"""Networks that images are measured by, and what two sets of images measure.

Only the published Inception gives an FID or an Inception score. A classifier of one's
own measures the same in features of its own; `is_inception` keeps the two apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from experiments.mgan.features import (
    SPLITS,
    FeatureSums,
    add,
    frechet_distance,
    no_features,
    score,
)
from lars_jax.data import normalize
from lars_jax.errors import InputError
from lars_jax.models import (
    NETWORKS,
    build,
    inception,
    inception_images,
    inception_weights,
    resnet_features,
)
from lars_jax.train.weights import load_about, load_arrays, load_weights

CLASSES = 10
"""Classes of the classifier: those of CIFAR-10."""

CIFAR_IMAGE = (32, 32, 3)
"""Shape of the images that the classifier has learnt from."""

BATCH = 100
"""Images in a forward pass; Inception needs 0.8 GB for the activations of so many."""

PART = 500
"""Images whose features are taken in at a time."""

Outputs = tuple[np.ndarray, np.ndarray]
Forward = Callable[[np.ndarray], tuple[ArrayLike, ArrayLike]]


@dataclass(frozen=True)
class Extractor:
    """A network that images are measured by.

    Attributes:
        name: what it is and where its weights are from, to stand by every number.
        is_inception: whether it is the network that FID and Inception score are of.
        apply: from images uint8 [B, H, W, 3] to features float32 [B, D] and class
            probabilities float32 [B, C], for any B.
    """

    name: str
    is_inception: bool
    apply: Callable[[np.ndarray], Outputs]


def inception_extractor(path: Path) -> Extractor:
    """Return the Inception that FID and Inception score are measured with.

    Images are resized as in TensorFlow 1 and so in the published numbers; see
    `inception_images`.

    Args:
        path: `.npz` or `.safetensors` of the state dict of
            `pt_inception-2015-12-05-6726825d`; see `inception_weights`.

    Raises:
        InputError: no such file, or not one of these weights.

    >>> inception_extractor(Path("no.npz"))
    Traceback (most recent call last):
        ...
    lars_jax.errors.FileError: no.npz could not be read (No such file or ...): ...
    """
    arrays, network = load_arrays(path), inception()
    try:
        weights = inception_weights(arrays)
    except InputError as error:
        raise InputError(f"{error}; this is {path}") from None

    @jax.jit
    def forward(weights: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        (params, state), seen = weights, inception_images(images)
        (features, logits), _ = network.apply(params, state, seen)
        return features, jax.nn.softmax(logits)

    # As an argument: 95 MB of constants would be folded into the compiled program.
    placed = partial(forward, jax.device_put(weights))
    name = f"Inception ({path.name}, legacy bilinear)"
    return Extractor(name, True, in_batches(placed))


def classifier_extractor(
    path: Path, network: str, *, mean: Sequence[float], std: Sequence[float]
) -> Extractor:
    """Return a CIFAR-10 classifier of one's own, to measure images by.

    Its features are the means over pixels that its last layer sees, and
    p(y | x) = softmax(features @ fc.kernel + fc.bias).

    Args:
        path: what `python -m experiments.lars export RUN FILE` wrote. An `.npz` file
            does not say of which width and stem it is, and is taken to be of the usual.
        network: name of a ResNet, as `lars_jax.models.build` takes it.
        mean: means of the three channels, of values in 0 .. 1, by which its training
            images were normalised.
        std: their standard deviations; 1 / 255 where it was trained on values of 255.

    Raises:
        InputError: no such file, one of another network, or no ResNet.

    >>> classifier_extractor(Path("no.npz"), "alexnet", mean=(0.5,), std=(1.0,))
    Traceback (most recent call last):
        ...
    lars_jax.errors.InputError: features are taken of a ResNet; got 'alexnet': ...
    """
    if network not in NETWORKS or not network.startswith("resnet"):
        known = ", ".join(name for name in NETWORKS if name.startswith("resnet"))
        raise InputError(
            f"features are taken of a ResNet; got {network!r}: choose one of {known}"
        )
    options = _network_options(path, network)
    images = jax.ShapeDtypeStruct((1, *CIFAR_IMAGE), jnp.float32)
    whole = build(network, CLASSES, **options)
    params, state = jax.eval_shape(lambda: whole.init(jax.random.key(0), images))
    found = load_weights(path, {"params": params, "model_state": state})
    body = resnet_features(depth=int(network.removeprefix("resnet")), **options)

    @jax.jit
    def forward(weights: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        params, seen = weights["params"], normalize(images, mean, std)
        # In full float32 on any device, so that each measures the same.
        with jax.default_matmul_precision("highest"):
            features, _ = body.apply(params, weights["model_state"], seen)
            logits = features @ params["fc"]["kernel"] + params["fc"]["bias"][None]
        return features, jax.nn.softmax(logits)

    placed = partial(forward, jax.device_put(found))
    name = f"classifier {network} ({path.name})"
    return Extractor(name, False, in_batches(placed, shape=CIFAR_IMAGE))


def _network_options(path: Path, network: str) -> dict[str, Any]:
    """Return what a file says of its network, which shapes do not tell."""
    about = load_about(path)
    if about.get("network", network) != network:
        raise InputError(
            f"features are taken by the network that was trained; got {network} for "
            f"{path} of a {about['network']}: name that one"
        )
    kinds = {"width": float, "stem_stride": int, "stride_in": str}
    return {name: kind(about[name]) for name, kind in kinds.items() if name in about}


def measure(extractor: Extractor, images: np.ndarray) -> tuple[FeatureSums, np.ndarray]:
    """Return the sums of features of images and their class probabilities.

    Args:
        extractor: what they are measured by.
        images: uint8 [N, H, W, 3].

    Returns:
        The sums, and probabilities float32 [N, C].

    Raises:
        InputError: no images, images that the extractor does not take, or features
            that are not finite.
    """
    if not len(images):
        raise InputError(
            "images are needed to measure their quality; got none: give one batch at "
            "least"
        )
    sums, probabilities = None, []
    for start in range(0, len(images), PART):
        features, chances = extractor.apply(images[start : start + PART])
        sums = add(sums or no_features(features.shape[1]), features)
        probabilities.append(chances)
    assert sums is not None
    return sums, np.concatenate(probabilities)


def evaluate_images(
    extractor: Extractor, real: np.ndarray | FeatureSums, fake: np.ndarray
) -> dict[str, Any]:
    """Return how far generated images are from real ones, and their score.

    Args:
        extractor: what they are measured by.
        real: real images, as `measure` takes them, or its sums over them.
        fake: generated images, at least one for each of the score's splits.

    Returns:
        `frechet_distance`, `score_mean`, `score_sd`, `count_real`, `count_fake`,
        `splits` and `extractor`, its name. The first two are an FID and an Inception
        score where the extractor is Inception.

    Raises:
        InputError: as `measure`, `frechet_distance` and `score`.

    With the brightness of an image for its only feature, 2 apart, and one class:

    >>> def brightness(images):
    ...     return images.mean(axis=(1, 2, 3))[:, None], np.ones((len(images), 1))
    >>> light = Extractor("brightness", False, brightness)
    >>> real = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    >>> found = evaluate_images(light, real, real + np.uint8(2))
    >>> round(found["frechet_distance"], 9), found["score_mean"], found["count_fake"]
    (4.0, 1.0, 10)
    """
    if not isinstance(real, FeatureSums):
        real, _ = measure(extractor, real)
    made, probabilities = measure(extractor, fake)
    mean, deviation = score(probabilities, SPLITS)
    return {
        "frechet_distance": frechet_distance(real, made),
        "score_mean": mean,
        "score_sd": deviation,
        "count_real": real.count,
        "count_fake": made.count,
        "splits": SPLITS,
        "extractor": extractor.name,
    }


def in_batches(
    forward: Forward, *, shape: tuple[int, int, int] | None = None
) -> Callable[[np.ndarray], Outputs]:
    """Return a function of any number of images from one of exactly `BATCH`.

    The last batch is filled up with zeros, whose outputs are dropped, so that nothing
    is compiled twice.

    Args:
        forward: from images [BATCH, H, W, C] to features and probabilities.
        shape: height, width and channels that images must have; None: any.

    >>> total = lambda images: (images.sum(axis=(1, 2)), images.shape[0] * images)
    >>> sums, _ = in_batches(total)(np.ones((3, 2, 2, 1), np.uint8))
    >>> print(sums[:, 0])
    [4 4 4]
    """

    def apply(images: np.ndarray) -> Outputs:
        _check(images, shape)
        parts = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            filled = np.zeros((BATCH, *images.shape[1:]), images.dtype)
            filled[: len(part)] = part
            parts.append([np.asarray(found)[: len(part)] for found in forward(filled)])
        features, chances = map(np.concatenate, zip(*parts, strict=True))
        return features, chances

    return apply


def _check(images: np.ndarray, shape: tuple[int, int, int] | None) -> None:
    wanted = "height, width, channels" if shape is None else str(list(shape))[1:-1]
    fits = images.ndim == 4 and (shape is None or images.shape[1:] == shape)
    if not fits or images.dtype != np.uint8:
        raise InputError(
            f"images must be uint8 [batch, {wanted}]; got {images.dtype} "
            f"{list(images.shape)}: give them as they are shown, in colour"
        )
