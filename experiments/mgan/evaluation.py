"""What a game is measured by while it is played, and by `eval` afterwards."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from experiments.mgan.extractors import (
    SPLITS,
    Extractor,
    classifier_extractor,
    evaluate_images,
    inception_extractor,
    measure,
)
from experiments.mgan.features import FeatureSums
from experiments.mgan.game import GameState
from experiments.mgan.inputs import to_bytes
from experiments.mgan.mixture import make_mixture
from experiments.mgan.plane import measure as measure_plane
from experiments.mgan.sampling import Samples
from experiments.mgan.trainer import Trainer
from lars_jax.data import known_statistics
from lars_jax.errors import InputError

Measure = Callable[[Samples], dict[str, float]]


def make_measure(trainer: Trainer) -> tuple[Measure | None, str]:
    """Return what measures the samples of a game, and what it measures by.

    Returns:
        None for images without a network to measure them by; and a line for where the
        names of the numbers do not tell, or "".

    Raises:
        InputError: the network for features, or its file, cannot be used.
    """
    if trainer.inputs.image is None:
        mixture = make_mixture(trainer.config.data)
        return lambda samples: measure_plane(mixture, *samples), ""
    if trainer.config.features is not None:
        return _image_measure(trainer, trainer.config.features)
    return None, ""


def evaluate(
    trainer: Trainer, measure: Measure | None, state: GameState
) -> dict[str, float]:
    """Return the numbers of a state by name, its `count` of samples the first.

    Those of the moving average of the generators are called `average/...`: the paper
    has none, so methods are compared by the generators as they are.
    """
    count = trainer.config.eval_samples
    found = {"count": float(count)}
    if measure is not None:
        for prefix, averaged in (("", False), ("average/", True)):
            measures = measure(trainer.sample(state, count, averaged=averaged))
            found |= {f"{prefix}{name}": value for name, value in measures.items()}
    return found


def features_file(spec: str) -> Path:
    """Return where the weights lie of the network that images are measured by.

    >>> features_file("resnet20:weights.npz").name
    'weights.npz'
    """
    return Path(spec.partition(":")[2] or spec)


def open_extractor(spec: str, dataset: str) -> Extractor:
    """Return the network that images are measured by.

    Args:
        spec: FILE of Inception weights, or NETWORK:FILE of a classifier that
            `python -m experiments.lars export` wrote.
        dataset: what a classifier was trained on.

    Raises:
        InputError: no such network or file, or a data set without a classifier.
    """
    network, colon, _ = spec.partition(":")
    path = features_file(spec)
    if not colon:
        return inception_extractor(path)
    statistics = known_statistics(dataset)
    if statistics is None or dataset.partition(":")[0] != "cifar10":
        raise InputError(
            f"a classifier measures the images that it was trained on, CIFAR-10; got "
            f"{dataset}: leave --features out, or give a FILE of Inception weights"
        )
    mean, std = statistics
    return classifier_extractor(path, network, mean=mean, std=std)


def _image_measure(trainer: Trainer, spec: str) -> tuple[Measure, str]:
    image = trainer.inputs.image
    assert image is not None
    if image.shape[-1] != 3:
        raise InputError(
            f"features are taken of images in colour; got {image.shape[-1]} channel in "
            f"{trainer.inputs.name}: leave --features out"
        )
    extractor = open_extractor(spec, trainer.config.data.dataset)
    distance, score = (
        ("fid", "inception_score") if extractor.is_inception else ("distance", "score")
    )

    @cache
    def of_data() -> FeatureSums:
        # Once, and only where something is measured: it is a pass over all images.
        return measure(extractor, image)[0]

    def of_samples(samples: Samples) -> dict[str, float]:
        found = evaluate_images(extractor, of_data(), to_bytes(samples.values))
        return {
            distance: found["frechet_distance"],
            score: found["score_mean"],
            f"{score}_sd": found["score_sd"],
        }

    note = (
        f"{distance} and {score.replace('_', ' ')} by {extractor.name}, "
        f"{trainer.config.eval_samples:,} samples against {len(image):,} images, score "
        f"over {SPLITS} splits"
    )
    return of_samples, note
