"""The stages that learn from crops: features, graph, networks; what comes of them."""

import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.batches import pair_data
from experiments.transitive.components import fit_components, project
from experiments.transitive.config import Config
from experiments.transitive.context import OFFSETS, pair_batches
from experiments.transitive.context_program import ContextProgram
from experiments.transitive.features import (
    WEIGHTS,
    context_features,
    hog_features,
    mirrored,
)
from experiments.transitive.gallery import (
    cluster_sheet,
    nearest_sheet,
    patch_sheet,
    shown_clusters,
    spread,
)
from experiments.transitive.graph import appending, write_graph
from experiments.transitive.parents import (
    assign_parents,
    drop_small,
    fit_centroids,
)
from experiments.transitive.progress import watched
from experiments.transitive.shards import Crops
from experiments.transitive.triplet import TripletProgram
from lars_jax.data import Source, folder_source
from lars_jax.files import replacing
from lars_jax.report import save_png
from lars_jax.runs import Experiment, Preset, Program
from lars_jax.runs.restore import export
from lars_jax.runs.stages import LOG
from lars_jax.runs.train import train
from lars_jax.train import Interrupt
from lars_jax.train.record import write_json

FEATURE_BATCH = 512
"""Crops whose features are taken at a time."""

SHOWN = 2048
"""Crops among which a picture looks for neighbours."""

PATCHES = 128
"""Pairs of patches from which a picture takes some of each label."""

FEATURES, COMPONENTS = "features.npy", "components.npy"
"""What neighbours are compared by, and what they are searched for by."""

Inputs = Mapping[str, Path]


def train_context(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    """Train the context network."""
    source = folder_source(inputs["frames"], "train")
    wide = replace(config.context, context_batch=PATCHES)
    batch = next(pair_batches(source, wide, seed=config.seed, steps=1))
    save_png(
        output / "patches.png",
        patch_sheet(
            batch["pair"], batch["label"], [f"{y:+d} {x:+d}" for y, x in OFFSETS]
        ),
    )
    own = concerned(config, "context", "model")
    experiment = _experiment(
        own, lambda config, sources: ContextProgram(config, sources), {"train": source}
    )
    _train_in(experiment, own, output, interrupt)


def take_features(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    """Take the features of the seeds, a batch at a time."""
    crops = Crops(inputs["track"])
    seeds = range(0, len(crops), 2)
    extract = (
        hog_features(config)
        if config.features.features == "hog"
        else context_features(config, inputs["context"] / WEIGHTS)
    )
    extract = mirrored(extract) if config.features.mirrored else extract
    # A batch at a time, as all of them may be more than memory holds.
    with contextlib.ExitStack() as files:
        append: Any = None
        starts = range(0, len(seeds), FEATURE_BATCH)
        for start in watched(interrupt, starts, "features", "batch"):
            places = seeds[start : start + FEATURE_BATCH]
            rows = extract(np.stack([crops[k][0] for k in places]))
            if append is None:
                file = appending(output / FEATURES, np.float16, rows.shape[1])
                append = files.enter_context(file)
            append(rows)
    features = np.load(output / FEATURES, mmap_mode="r")
    some = spread(len(seeds), SHOWN)
    images = np.stack([crops[int(2 * k)][0] for k in some])
    own = {config.features.features: np.asarray(features[some])}
    sheet = nearest_sheet(images, np.asarray(crops.index["video"])[2 * some], own)
    save_png(output / "nearest.png", sheet)
    if config.features.components is not None:
        found = fit_components(features, config.features.components)
        with replacing(output / COMPONENTS) as temporary:
            shape = (len(features), config.features.components)
            # On disk, as all of them may be more than memory holds.
            rows = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float16, shape=shape
            )
            project(features, found, rows)
            rows.flush()


def make_graph(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    """Write parents, child clusters and pairs."""
    features = compare_by = np.load(inputs["features"] / FEATURES, mmap_mode="r")
    if (inputs["features"] / COMPONENTS).exists():
        features = np.load(inputs["features"] / COMPONENTS, mmap_mode="r")
    own = config.clusters
    centroids = fit_centroids(features, own.parents, seed=config.seed)
    parent = drop_small(assign_parents(features, centroids), own.least_members)
    index = Crops(inputs["track"]).index[::2]
    apart = None if own.apart == "nothing" else np.asarray(index[own.apart])

    def watch(parents: list[np.ndarray]) -> Iterator[np.ndarray]:
        return watched(interrupt, parents, "graph", "parent")

    counts = write_graph(
        output,
        features,
        parent,
        group=apart,
        config=own,
        seed=config.seed,
        compare_by=None if compare_by is features else compare_by,
        watch=watch,
    )
    with replacing(output / "parents.npy") as temporary:
        np.save(temporary, parent)
    cliques = shown_clusters(np.load(output / "cliques.npy", mmap_mode="r"))
    crops = Crops(inputs["track"])
    images = {int(k): crops[int(2 * k)][0] for k in np.unique(cliques)}
    save_png(output / "clusters.png", cluster_sheet(images, cliques, parent))
    write_json(output / "counts.json", counts)


def train_triplet(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    """Train the triplet network."""
    data = pair_data(inputs["track"], inputs["graph"])
    trunk = inputs["context"] / WEIGHTS if "context" in inputs else None
    sources: dict[str, Source] = {"train": data.source}
    own = concerned(config, "triplet", "model", "tracking")
    if "frames" in inputs:
        sources["frames"] = folder_source(inputs["frames"], "train")
        own = replace(own, context=config.context)
    experiment = _experiment(
        own,
        lambda config, sources: TripletProgram(
            config, data, trunk, sources.get("frames")
        ),
        sources,
    )
    _train_in(experiment, own, output, interrupt)


def concerned(config: Config, *sections: str) -> Config:
    """Return a configuration with some of its sections, the others as they are plain.

    What a stage trains then goes on though other settings have changed.

    >>> from lars_jax.train.config import replace_fields
    >>> config = replace_fields(Config(), nearest=7, steps=3)
    >>> own = concerned(config, "triplet")
    >>> own.evaluation.nearest, own.triplet.steps
    (5, 3)
    """
    own = {name: getattr(config, name) for name in sections}
    return Config(**own, seed=config.seed, devices=config.devices)


def _experiment(
    config: Config, build: Any, sources: dict[str, Source]
) -> Experiment[Config]:
    """Return what the shell trains, on the files of the stages before."""

    def made(config: Config, sources: Any) -> Program[Any]:
        return build(config, sources)

    return Experiment(
        command="python -m experiments.transitive",
        summary="",
        config=Config,
        presets={"stage": Preset("stage", config, "", "", "")},
        default="stage",
        check=lambda config: config,
        sources=lambda config: sources,
        build=made,
    )


def _train_in(
    experiment: Experiment[Config], config: Config, output: Path, interrupt: Interrupt
) -> None:
    """Train in the log of a stage, and leave the weights beside it."""
    run = output / LOG / "run"
    status = train(experiment, config, run, resume="if_any").status
    if status:
        # Training has heard the signal in place of the pipeline, whose exit status it
        # is to be.
        signal.raise_signal(status - 128)
        interrupt.check()
    export(experiment, run, output / WEIGHTS)
