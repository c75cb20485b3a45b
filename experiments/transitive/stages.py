"""The stages of the pipeline, from raw video to features: files to files.

videos     what there is, or the clips of the demo
mine       frames in which an object moves, and its box
track      the same object some frames later; crops of both
frames     photographs for context prediction, from the same videos
context    the context network; weights.safetensors
features   float16 [seeds, D] of the seeds
graph      parents, child clusters, pairs
triplet    the triplet network; weights.safetensors
"""

import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.transitive.batches import PairData
from experiments.transitive.beam import WITHOUT_BEAM, Runner
from experiments.transitive.config import Config
from lars_jax.data import Source, folder_source
from lars_jax.errors import InputError
from lars_jax.files import make_directory, replacing
from lars_jax.runs import Experiment, Preset, Program, Stage
from lars_jax.runs.restore import export
from lars_jax.runs.stages import LOG
from lars_jax.runs.train import train
from lars_jax.train import Interrupt
from lars_jax.train.record import read_json, write_json

FEATURE_BATCH = 128
"""Crops whose features are taken at a time."""

WEIGHTS = "weights.safetensors"
"""What a stage that trains leaves."""

Inputs = Mapping[str, Path]


def make_stages(config: Config, runner: Runner = WITHOUT_BEAM) -> list[Stage[Config]]:
    """Return the stages of a configuration, in their order.

    Context prediction is left out where nothing is made of it.

    Args:
        config: what the stages make.
        runner: does the work of those that read video; no result depends on it.

    >>> [stage.name for stage in make_stages(Config())][-3:]
    ['features', 'graph', 'triplet']
    """
    context = uses_context(config)
    stages = [
        Stage("videos", _videos, settings=("video", "seed")),
        Stage(
            "mine",
            partial(_mine, runner=runner),
            ("videos",),
            ("mining",),
            resumes=True,
        ),
        Stage(
            "track",
            partial(_track, runner=runner),
            ("videos", "mine"),
            ("mining", "tracking"),
            resumes=True,
        ),
        Stage("frames", _frames, ("videos",), ("frames",)),
        Stage(
            "context",
            _context,
            ("frames",),
            ("context", "model", "seed"),
            resumes=True,
        ),
        Stage(
            "features",
            _features,
            ("track", "context") if context else ("track",),
            ("features", "model"),
        ),
        Stage("graph", _graph, ("track", "features"), ("clusters", "seed")),
        Stage(
            "triplet",
            _triplet,
            ("track", "graph", "context")
            if config.triplet.init == "context"
            else ("track", "graph"),
            ("triplet", "model", "seed"),
            resumes=True,
        ),
    ]
    left_out = () if context else ("frames", "context")
    return [stage for stage in stages if stage.name not in left_out]


def uses_context(config: Config) -> bool:
    """Return whether anything is made of context prediction."""
    return config.features.features == "context" or config.triplet.init == "context"


def video_folder(directory: Path) -> Path:
    """Return the folder of the videos, from the directory of their stage."""
    root = read_json(directory / "videos.json")["root"]
    return Path(root) if root else directory / "clips"


def pair_data(track: Path, graph: Path) -> PairData:
    """Return the pairs of a graph and the crops of its tracks.

    Node t is the seed of track t, node S + t its end, of S tracks.

    Args:
        track: directory of the stage of that name.
        graph: likewise.
    """
    from experiments.transitive.shards import Crops

    crops = Crops(track)
    tracks = len(crops) // 2
    image = np.concatenate([np.arange(tracks) * 2, np.arange(tracks) * 2 + 1])
    nodes, kind, parent = (
        np.load(graph / f"{name}.npy") for name in ("pairs", "kinds", "node_parents")
    )
    return PairData(crops, image, nodes, kind, parent)


def _videos(config: Config, inputs: Any, output: Path, interrupt: Interrupt) -> None:
    from experiments.transitive.demo import render_clips
    from experiments.transitive.video import find_videos

    del inputs
    videos, root = config.video.videos, ""
    if videos == "demo":
        interrupt.run(lambda: render_clips(config.video, config.seed, output))
        found = find_videos(output / "clips")
    elif videos.startswith("folder:"):
        root = videos.removeprefix("folder:")
        found = find_videos(root)
    else:
        raise InputError(
            f"videos are demo or folder:PATH; got {videos!r}: set --videos to one"
        )
    digests = dict(found.fingerprint().parts)
    record = {"root": root, "videos": digests, "passed_over": found.passed_over}
    write_json(output / "videos.json", record)


def _mine(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt, runner: Runner
) -> None:
    from experiments.transitive.extract import mine_videos
    from experiments.transitive.pictures import mined_sheet
    from experiments.transitive.video import find_videos
    from lars_jax.report import save_png

    root = video_folder(inputs["videos"])
    mine_videos(
        find_videos(root), config.mining, output, interrupt=interrupt, runner=runner
    )
    save_png(output / "mined.png", mined_sheet(root, output, config.mining))


def _track(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt, runner: Runner
) -> None:
    from experiments.transitive.extract import track_videos
    from experiments.transitive.pictures import track_sheet
    from experiments.transitive.shards import Crops
    from lars_jax.report import save_png

    root = video_folder(inputs["videos"])
    track_videos(
        root,
        inputs["mine"],
        config.mining,
        config.tracking,
        output,
        interrupt=interrupt,
        runner=runner,
    )
    save_png(output / "tracks.png", track_sheet(Crops(output)))


def _frames(config: Config, inputs: Inputs, output: Path, interrupt: Interrupt) -> None:
    """Write some frames of every video, a folder data set of one class."""
    from PIL import Image

    from experiments.transitive.video import VideoError, find_videos, read_frames

    videos = find_videos(video_folder(inputs["videos"]))
    place = output / "train" / "frame"
    make_directory(place)
    for number, path in enumerate(interrupt.each(videos.files)):
        try:
            for k, frame in enumerate(read_frames(path)):
                interrupt.check()
                if k // config.frames.frame_stride >= config.frames.most_frames:
                    break
                if k % config.frames.frame_stride == 0:
                    name = place / f"{number:06d}-{k:06d}.jpg"
                    with replacing(name) as temporary:
                        Image.fromarray(frame).save(temporary, quality=95)
        except VideoError:
            continue  # Mining has said so.


def _context(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    from experiments.transitive.context_program import ContextProgram

    source = folder_source(inputs["frames"], "train")
    experiment = _experiment(
        config,
        lambda config, sources: ContextProgram(config, sources),
        {"train": source},
    )
    _train_in(experiment, config, output, interrupt)


def _features(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    from experiments.transitive.components import fit_components, project
    from experiments.transitive.shards import Crops

    crops = Crops(inputs["track"])
    seeds = range(0, len(crops), 2)
    extract = (
        _hog if config.features.features == "hog" else _pool5(config, inputs["context"])
    )
    parts = []
    for start in interrupt.each(range(0, len(seeds), FEATURE_BATCH)):
        places = seeds[start : start + FEATURE_BATCH]
        images = np.stack([crops[k][0] for k in places])
        parts.append(extract(images).astype(np.float16))
    features = np.concatenate(parts)
    if config.features.components is not None:
        found = fit_components(features, config.features.components)
        features = project(features, found)
    with replacing(output / "features.npy") as temporary:
        np.save(temporary, features)


def _graph(config: Config, inputs: Inputs, output: Path, interrupt: Interrupt) -> None:
    from experiments.transitive.graph import write_graph
    from experiments.transitive.parents import (
        assign_parents,
        drop_small,
        fit_centroids,
    )
    from experiments.transitive.shards import Crops

    features = np.load(inputs["features"] / "features.npy", mmap_mode="r")
    own = config.clusters
    centroids = fit_centroids(features, own.parents, seed=config.seed)
    parent = drop_small(assign_parents(features, centroids), own.least_members)
    index = Crops(inputs["track"]).index[::2]
    apart = None if own.apart == "nothing" else np.asarray(index[own.apart])

    def watch(parents: list[np.ndarray]) -> Iterator[np.ndarray]:
        return interrupt.each(parents)

    counts = write_graph(
        output,
        features,
        parent,
        len(index) + np.arange(len(index)),
        group=apart,
        config=own,
        seed=config.seed,
        watch=watch,
    )
    with replacing(output / "parents.npy") as temporary:
        np.save(temporary, parent)
    write_json(output / "counts.json", counts)


def _triplet(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    from experiments.transitive.triplet import TripletProgram

    data = pair_data(inputs["track"], inputs["graph"])
    trunk = inputs["context"] / WEIGHTS if "context" in inputs else None
    experiment = _experiment(
        config,
        lambda config, sources: TripletProgram(config, data, trunk),
        {"train": data.source},
    )
    _train_in(experiment, config, output, interrupt)


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


def _hog(images: np.ndarray) -> np.ndarray:
    from experiments.transitive.hog import hog

    return hog(images)


def _pool5(config: Config, context: Path) -> Any:
    """Return a function from crops to pool5 of the context network, [B, D]."""
    from experiments.transitive.context_network import clean_patches
    from lars_jax.models import vgg16
    from lars_jax.train.weights import load_weights

    network = vgg16(width=config.model.width, dtype=config.model.dtype)
    side = config.tracking.crop
    shape = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    like, state = jax.eval_shape(lambda: network.init(jax.random.key(0), shape))
    params = load_weights(context / WEIGHTS, like)

    @jax.jit
    def apply(images: jax.Array) -> jax.Array:
        features, _ = network.apply(params, state, clean_patches(images))
        return features.reshape(features.shape[0], -1)

    def of_all(images: np.ndarray) -> np.ndarray:
        # One shape, compiled once: the last batch is filled up.
        filled = np.zeros((FEATURE_BATCH, *images.shape[1:]), np.uint8)
        filled[: len(images)] = images
        return np.asarray(apply(filled))[: len(images)]

    return of_all
