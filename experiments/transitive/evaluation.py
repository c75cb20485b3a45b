"""What features are good for, in numbers and in pictures.

evaluation.json   purity of clusters and pairs where labels are known; what classifiers
                  on each kind of features get right
retrieval.png     crops, and those nearest to them by trained and by untrained features
activations.png   the crops that units of the last convolution answer most to
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.transitive.batches import Sampler, pair_data
from experiments.transitive.config import Config
from experiments.transitive.demo import read_truth, score_crops
from experiments.transitive.features import (
    HEAD,
    WEIGHTS,
    Features,
    context_features,
    drawn_weights,
    hog_features,
    mirrored,
    triplet_features,
)
from experiments.transitive.gallery import activation_sheet, nearest_sheet, spread
from experiments.transitive.networks import trunk_layers
from experiments.transitive.pairs import Pairs
from experiments.transitive.photographs import (
    Photographs,
    photograph_digests,
    read_photographs,
)
from experiments.transitive.probes import (
    linear_accuracy,
    neighbour_accuracy,
    views_apart,
)
from experiments.transitive.progress import watched
from experiments.transitive.purity import (
    chance,
    clique_purity,
    false_negatives,
    pair_purity,
    purity,
)
from experiments.transitive.ranking import legal_negatives
from experiments.transitive.records import load_array
from experiments.transitive.shards import Crops
from experiments.transitive.truth import Labels, find_labels
from lars_jax.report import save_png
from lars_jax.train import Interrupt
from lars_jax.train.record import write_json
from lars_jax.train.weights import load_weights

APART = 90
"""Degrees that two views must be apart to be held against each other."""

SHOWN = 2048
"""Crops among which the pictures look for neighbours and for what excites a unit."""

BATCHES = 20
"""Batches of training among which false negatives are counted, the first ones."""

Inputs = Mapping[str, Path]


def evaluate_features(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    """Write numbers and pictures.

    Args:
        config: of the pipeline.
        inputs: directories of the stages `track`, `graph`, `triplet`, `context` where
            there is one, and `videos` where there are labels in it.
        output: where to.
        interrupt: ends the work on a signal.
    """
    crops = Crops(inputs["track"])
    kinds = feature_kinds(config, inputs)
    found: dict[str, Any] = {"crops": len(crops)}
    video = np.asarray(crops.index["video"])
    labels = find_labels(inputs, video)
    if "videos" in inputs:
        found["boxes"] = _boxes_of_truth(config, inputs["videos"], crops)
    if labels is not None:
        found["graph"] = graph_purity(config, inputs, labels)
    photographs = photographs_of(config)
    if photographs is not None:
        found["photographs"] = {
            name: probe(features, photographs, config.evaluation.nearest)
            for name, features in watched(
                interrupt, list(kinds.items()), "evaluate", "kind"
            )
        }
    elif labels is not None:
        found["photographs"] = {
            name: _probe_crops(features, crops, labels, config.evaluation.nearest)
            for name, features in watched(
                interrupt, list(kinds.items()), "evaluate", "kind"
            )
        }
    some = spread(len(crops) // 2, SHOWN) * 2
    images = interrupt.run(lambda: np.stack([crops[int(k)][0] for k in some]))
    rows = {name: kinds[name](images) for name in ("trained", "untrained")}
    save_png(output / "retrieval.png", nearest_sheet(images, video[some], rows))
    interrupt.check()
    weights = load_weights(inputs["triplet"] / WEIGHTS, drawn_weights(config))
    last = trunk_layers(config.model)[-2]
    channels = weights["trunk"][last]["bias"].shape[0]
    units = triplet_features(config, weights, last)
    answers = units(images).reshape(len(images), -1, channels).max(axis=1)
    save_png(output / "activations.png", activation_sheet(images, answers))
    write_json(output / "evaluation.json", found)


def feature_kinds(config: Config, inputs: Inputs) -> dict[str, Features]:
    """Return features by what they are called, those of the run first.

    Args:
        config: of the pipeline.
        inputs: as of `evaluate_features`.
    """
    weights = load_weights(inputs["triplet"] / WEIGHTS, drawn_weights(config))
    drawn = drawn_weights(config, config.seed)
    kinds = {
        "trained": triplet_features(config, weights),
        "trained, head": triplet_features(config, weights, HEAD),
        "untrained": triplet_features(config, drawn),
        "HOG": hog_features(config),
    }
    if "context" in inputs:
        kinds["context"] = context_features(config, inputs["context"] / WEIGHTS)
    if config.evaluation.mirrored_too:
        kinds |= {f"{name}, mirrored": mirrored(one) for name, one in kinds.items()}
    return kinds


def photographs_of(config: Config) -> Photographs | None:
    """Return the photographs that features are tried on, None where none are named."""
    named = _named_photographs(config)
    if named is None:
        return None
    return read_photographs(
        named, config.tracking.crop, config.evaluation, seed=config.seed
    )


def evaluation_digests(config: Config) -> dict[str, str]:
    """Return digests of the files of those photographs."""
    named = _named_photographs(config)
    return {} if named is None else photograph_digests(named)


def _named_photographs(config: Config) -> str | None:
    if config.evaluation.photographs != "none":
        return config.evaluation.photographs
    return config.video.videos if config.of_photographs else None


def probe(
    features: Features, photographs: Photographs, nearest: int
) -> dict[str, float]:
    """Return what classifiers on features get right of photographs held out.

    Nearest neighbours of views of objects are views of other objects that are held out,
    too, from sides at least 90 degrees away; those of other photographs are the ones
    not held out. The linear classifier learns from those not held out.

    Args:
        features: of images.
        photographs: with labels.
        nearest: neighbours that vote.

    Returns:
        Shares by name, and how many were `tested`.
    """
    rows, held = features(photographs.images), photographs.held_out
    test, label = rows[held], photographs.label
    if photographs.azimuth is None:
        gallery, allowed = ~held, None
    else:
        gallery = held
        angle, thing = photographs.azimuth[held], photographs.thing[held]
        allowed = views_apart(angle, angle, APART) & (thing[:, None] != thing)
    return {
        "nearest": neighbour_accuracy(
            test,
            label[held],
            rows[gallery],
            label[gallery],
            count=nearest,
            allowed=allowed,
        ),
        "linear": linear_accuracy(rows[~held], label[~held], test, label[held]),
        "tested": int(held.sum()),
    }


def graph_purity(config: Config, inputs: Inputs, labels: Labels) -> dict[str, Any]:
    """Return how far clusters and pairs are of one category.

    Args:
        config: of the pipeline.
        inputs: directories of the stages `track` and `graph`.
        labels: of the crops, that is of seeds and ends by turns.
    """
    cliques, nodes, kinds, parents = (
        load_array(inputs["graph"] / f"{name}.npy")
        for name in ("cliques", "pairs", "kinds", "parents")
    )
    # Nodes are all seeds and then all ends.
    category, identity = (np.concatenate([v[::2], v[1::2]]) for v in labels)
    seeds = category[: len(category) // 2]
    sampler = Sampler.create(
        pair_data(inputs["track"], inputs["graph"]), config.triplet
    )
    shares: dict[str, list[float]] = {"blind": [], "aware": []}
    for step in range(BATCHES):
        drawn = sampler.batch(config.seed, step)
        for name, found in shares.items():
            legal = legal_negatives(
                *map(jnp.asarray, (drawn["parent"], drawn["place"])),
                other_parents=name == "aware",
            )
            found.append(false_negatives(category[drawn["node"]], np.asarray(legal)))
    return {
        "chance": chance(seeds),
        "parents": purity(parents, seeds),
        "child clusters": clique_purity(cliques, seeds)._asdict(),
        "pairs": {
            name: one._asdict()
            for name, one in pair_purity(
                Pairs(nodes, kinds), category, identity
            ).items()
        },
        "false negatives": {
            name: float(np.mean(found)) for name, found in shares.items()
        },
    }


def _boxes_of_truth(config: Config, videos: Path, crops: Crops) -> dict[str, float]:
    """Return how far boxes are those of the objects, in the median of all tracks."""
    overlap, _ = score_crops(
        read_truth(videos),
        crops.index,
        config.mining.frame_height,
        config.mining.frame_width,
    )
    return {
        "mined": float(np.median(overlap[::2])),
        "tracked": float(np.median(overlap[1::2])),
    }


def _probe_crops(
    features: Features, crops: Crops, labels: Labels, nearest: int
) -> dict[str, float]:
    """Return what neighbours among crops of other things get right.

    The things were seen in training: nothing is held out but each from itself.
    """
    some = spread(len(crops), SHOWN)
    rows = features(np.stack([crops[int(k)][0] for k in some]))
    category, identity = labels.category[some], labels.identity[some]
    allowed = identity[:, None] != identity
    share = neighbour_accuracy(
        rows, category, rows, category, count=nearest, allowed=allowed
    )
    return {"nearest": share, "tested": len(some)}
