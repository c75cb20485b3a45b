"""What a game is measured by while it is played, and by `eval` afterwards.

Every number is given for the generators as they are, and as `average/...` for their
moving average: the paper has no average, so methods are compared by the former.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.mgan.extractors import (
    Extractor,
    classifier_extractor,
    evaluate_images,
    inception_extractor,
    measure,
)
from experiments.mgan.game import GameState
from experiments.mgan.inputs import to_bytes
from experiments.mgan.mixture import make_mixture
from experiments.mgan.plane import make_truth, score_true_samples
from experiments.mgan.plane import measure as measure_plane
from experiments.mgan.trainer import Trainer
from lars_jax.data import known_statistics
from lars_jax.errors import InputError

WAYS = (("", False), ("average/", True))

SPLITS = 10
"""Parts of the samples whose scores are averaged (Salimans et al. 2016)."""

PART = 500
"""Images that are handed to an extractor at a time."""


@dataclass(frozen=True)
class Evaluate:
    """Measures the state of a game.

    Attributes:
        function: from a state to numbers by name.
        note: what they are measured by, where their names do not tell.
    """

    function: Callable[[GameState], dict[str, float]]
    note: str = ""

    def __call__(self, state: GameState) -> dict[str, float]:
        """Return the numbers of a state, by name."""
        return self.function(state)


def make_evaluation(trainer: Trainer) -> Evaluate:
    """Return what measures a state of a game.

    Raises:
        InputError: the network for features, or its file, cannot be used.
    """
    if trainer.inputs.image is None:
        return _plane_evaluation(trainer)
    if trainer.config.features is not None:
        return _image_evaluation(trainer, trainer.config.features)
    count = float(trainer.config.eval_samples)
    return Evaluate(lambda state: {"count": count})


def true_score(trainer: Trainer) -> dict[str, float]:
    """Return the distances that true samples of the same number have, if known.

    Their names begin with `floor/`, below which no generator can be asked to come.
    """
    if trainer.inputs.image is not None:
        return {}
    truth = make_truth(make_mixture(trainer.config.data))
    found = score_true_samples(truth, trainer.config.eval_samples)
    return {f"floor/{name}": value for name, value in found.items()}


def open_extractor(spec: str, dataset: str) -> Extractor:
    """Return the network that images are measured by.

    Args:
        spec: FILE of Inception weights, or NETWORK:FILE of a classifier that
            `python -m experiments.lars export` wrote.
        dataset: what a classifier was trained on.

    Raises:
        InputError: no such network or file, or a data set without a classifier.
    """
    network, colon, path = spec.partition(":")
    if not colon:
        return inception_extractor(Path(spec))
    statistics = known_statistics(dataset)
    if statistics is None or len(statistics.mean) != 3:
        raise InputError(
            f"a classifier measures the images that it was trained on, CIFAR-10; got "
            f"{dataset}: leave --features out, or give a FILE of Inception weights"
        )
    mean, std = statistics
    return classifier_extractor(Path(path), network, mean=mean, std=std)


def _plane_evaluation(trainer: Trainer) -> Evaluate:
    truth = make_truth(make_mixture(trainer.config.data))
    count = trainer.config.eval_samples

    def evaluate(state: GameState) -> dict[str, float]:
        found = {"count": float(count)}
        for prefix, averaged in WAYS:
            measures = measure_plane(
                truth, *trainer.sample(state, count, averaged=averaged)
            )
            found |= {f"{prefix}{name}": value for name, value in measures.items()}
        return found

    return Evaluate(evaluate)


def _image_evaluation(trainer: Trainer, spec: str) -> Evaluate:
    image, count = trainer.inputs.image, trainer.config.eval_samples
    assert image is not None
    if image.shape[-1] != 3:
        raise InputError(
            f"features are taken of images in colour; got {image.shape[-1]} channel in "
            f"{trainer.inputs.name}: leave --features out"
        )
    extractor = open_extractor(spec, trainer.config.data.dataset)
    real, _ = measure(extractor, _parts(image))
    distance, score = (
        ("fid", "inception_score") if extractor.is_inception else ("distance", "score")
    )

    def evaluate(state: GameState) -> dict[str, float]:
        found = {"count": float(count)}
        for prefix, averaged in WAYS:
            values = trainer.sample(state, count, averaged=averaged).values
            measures = evaluate_images(
                extractor, real, _parts(to_bytes(values)), splits=SPLITS
            )
            found |= {
                f"{prefix}{distance}": measures["frechet_distance"],
                f"{prefix}{score}": measures["score_mean"],
                f"{prefix}{score}_sd": measures["score_sd"],
            }
        return found

    note = (
        f"{distance.replace('_', ' ')} and {score.replace('_', ' ')} by "
        f"{extractor.name}, {count:,} samples against {real.count:,} images, score "
        f"over {SPLITS} splits"
    )
    return Evaluate(evaluate, note)


def _parts(image: np.ndarray) -> Iterator[np.ndarray]:
    return (image[start : start + PART] for start in range(0, len(image), PART))
