"""Ten generators against one on CIFAR-10, at equal updates, in features of our own.

    python -m benchmarks.mgan.cifar10 --run-dir runs/cifar10 --classifier FILE --seeds 2

FILE holds a classifier that the same machine trained and wrote:

    python -m experiments.lars train cifar10_resnet20_512 --network resnet8 \
        --epochs 10 --warmup-epochs 1 --run-dir runs/classifier
    python -m experiments.lars export runs/classifier FILE
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common.records import RECORDS, write_record
from experiments.mgan.config import Config
from experiments.mgan.evaluation import open_extractor
from experiments.mgan.experiment import MGAN
from experiments.mgan.extractors import evaluate_images
from experiments.mgan.gallery import Gallery
from experiments.mgan.inputs import load_inputs
from experiments.mgan.presets import get_preset
from experiments.mgan.snapshots import read_arrays
from lars_jax.data import load_source, to_arrays
from lars_jax.runs.restore import evaluate
from lars_jax.runs.train import train
from lars_jax.train.config import replace_fields
from lars_jax.train.record import environment, read_json, read_lines

GAMES = {"ten": "cifar10_small", "one": "cifar10_small_gan"}
PICTURES = ("samples.png", "interpolation.png", "neighbours.png", "confusion.svg")
COMMAND = "python -m benchmarks.mgan.cifar10 --run-dir runs/cifar10 --classifier FILE"


def main(
    run_dir: Path,
    classifier: Path,
    network: str = "resnet8",
    steps: int = 10_000,
    seeds: int = 2,
    accuracy: float | None = None,
    game: str = "",
) -> None:
    """Play both games, or go on with them, and write `records/mgan_cifar10.json`.

    Args:
        run_dir: where the runs are.
        classifier: weights of the classifier.
        network: its name.
        steps: length of both games.
        seeds: runs of each.
        accuracy: of the classifier on the test images, for the record.
        game: play this one alone, `ten` or `one`, and write no record.
    """
    names = [game] if game else list(GAMES)
    runs = [(name, seed) for seed in range(seeds) for name in names]
    for name, seed in runs:
        _play(name, seed, run_dir, steps)
    if game:
        return
    features = f"{network}:{classifier}"
    rows = [_row(name, seed, run_dir, features) for name, seed in runs]
    config = replace_fields(get_preset("cifar10_small").config, features=features)
    for name in PICTURES:
        shutil.copy(run_dir / "ten" / "0" / name, RECORDS / f"mgan_cifar10_{name}")
    print(
        write_record(
            "mgan_cifar10",
            f"{COMMAND} --seeds {seeds}",
            classifier={"network": network, "accuracy": accuracy},
            games=rows,
            test_images=_score_test_images(config, features),
        )
    )


def _play(game: str, seed: int, run_dir: Path, steps: int) -> None:
    preset = GAMES[game]
    config = replace_fields(get_preset(preset).config, steps=steps, seed=seed)
    place = run_dir / game / str(seed)
    outcome = train(MGAN, config, place, name=preset, resume="if_any")
    if outcome.status:
        raise SystemExit(outcome.status)


def _row(game: str, seed: int, run_dir: Path, features: str) -> dict[str, Any]:
    place = run_dir / game / str(seed)
    rows = list(read_lines(place / "metrics.jsonl"))
    timed = [row["steps_per_second"] for row in rows if "steps_per_second" in row]
    gallery = read_arrays(place / "gallery.npz", Gallery._fields)
    return {
        "preset": GAMES[game],
        "seed": seed,
        "config": read_json(place / "config.json")["config"],
        "environment": environment(),
        "final": {
            f"eval/{name}": value
            for name, value in evaluate(MGAN, place, features=features).items()
        },
        "steps_per_second": float(np.median(timed)),
        "sample_distance": float(np.median(gallery["sample_distance"])),
        "real_distance": float(np.median(gallery["real_distance"])),
        "told_apart": float(np.trace(gallery["confusion"]) / len(gallery["confusion"])),
    }


def _score_test_images(config: Config, features: str) -> dict[str, Any]:
    """Return the distance and the score of the test images."""
    extractor = open_extractor(features, config.data.dataset)
    train_images = load_inputs(config).image
    assert train_images is not None
    test = to_arrays(load_source(config.data.dataset, "test")).image
    return evaluate_images(extractor, train_images, test)


if __name__ == "__main__":
    tyro.cli(main)
