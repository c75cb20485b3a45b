"""The stages of the pipeline, from raw video to features: files to files.

videos     what there is, or the clips of the demo
mine       frames in which an object moves, and its box
track      the same object some frames later; crops of both
frames     photographs for context prediction, from the same videos
context    the context network; weights.safetensors
features   float16 [seeds, D] of the seeds, and their principal components
graph      parents, child clusters, pairs
triplet    the triplet network; weights.safetensors
evaluate   what the features are good for

Photographs of objects from many sides take the place of the first three: there, track
is the first stage.
"""

import contextlib
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.batches import PairData
from experiments.transitive.beam import WITHOUT_BEAM, Runner
from experiments.transitive.config import Config
from experiments.transitive.features import (
    WEIGHTS,
    context_features,
    hog_features,
    mirrored,
)
from experiments.transitive.graph import appending, write_graph
from experiments.transitive.photographs import ETH80, training_photographs
from lars_jax.data import Source, folder_source
from lars_jax.errors import InputError
from lars_jax.files import make_directory, replacing
from lars_jax.runs import Experiment, Preset, Program, Stage
from lars_jax.runs.restore import export
from lars_jax.runs.stages import LOG
from lars_jax.runs.train import train
from lars_jax.train import Interrupt
from lars_jax.train.record import read_json, write_json

FEATURE_BATCH = 512
"""Crops whose features are taken at a time."""

FEATURES, COMPONENTS = "features.npy", "components.npy"
"""What neighbours are compared by, and what they are searched for by."""

Inputs = Mapping[str, Path]


def make_stages(config: Config, runner: Runner = WITHOUT_BEAM) -> list[Stage[Config]]:
    """Return the stages of a configuration, in their order.

    Context prediction is left out where nothing is made of it.

    Args:
        config: what the stages make.
        runner: does the work of those that read video; no result depends on it.

    >>> [stage.name for stage in make_stages(Config())][-3:]
    ['graph', 'triplet', 'evaluate']
    """
    context, multi_task = uses_context(config), config.triplet.context_weight > 0
    source = [
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
    ]
    if of_photographs(config):
        # Which of them are held out is a matter of evaluation and seed.
        settings = ("video", "evaluation", "seed")
        source = [
            Stage("track", _photographs, (), (*settings, "tracking")),
            Stage("frames", _photograph_frames, (), settings),
        ]
    needed = {
        "triplet": context and config.triplet.init == "context",
        "features": context and config.features.features == "context",
    }
    stages = [
        *source,
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
            ("track", "context") if needed["features"] else ("track",),
            ("features", "model"),
        ),
        Stage("graph", _graph, ("track", "features"), ("clusters", "seed")),
        Stage(
            "triplet",
            _triplet,
            (
                "track",
                "graph",
                *(("context",) if needed["triplet"] else ()),
                *(("frames",) if multi_task else ()),
            ),
            ("triplet", "model", "seed", *(("context",) if multi_task else ())),
            resumes=True,
        ),
        Stage(
            "evaluate",
            _evaluate,
            (
                "track",
                "graph",
                "triplet",
                *(("context",) if context else ()),
                *(("videos",) if config.video.videos == "demo" else ()),
            ),
            ("evaluation", "model", "seed"),
        ),
    ]
    left_out = set() if context else {"context"}
    left_out |= set() if context or multi_task else {"frames"}
    return [stage for stage in stages if stage.name not in left_out]


def uses_context(config: Config) -> bool:
    """Return whether anything is made of context prediction."""
    return config.features.features == "context" or config.triplet.init == "context"


def of_photographs(config: Config) -> bool:
    """Return whether photographs take the place of video."""
    return config.video.videos.startswith(ETH80)


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
            "videos are demo, folder:PATH or eth80:FILE; got "
            f"{videos!r}: set --videos to one"
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


def _photographs(
    config: Config, inputs: Any, output: Path, interrupt: Interrupt
) -> None:
    from experiments.transitive.photographs import photograph_tracks
    from experiments.transitive.pictures import track_sheet
    from experiments.transitive.shards import Crops
    from lars_jax.report import save_png

    del inputs
    found = interrupt.run(lambda: training_photographs(config))
    photograph_tracks(found, config.video.turn, config.tracking, output)
    save_png(output / "tracks.png", track_sheet(Crops(output)))


def _photograph_frames(
    config: Config, inputs: Any, output: Path, interrupt: Interrupt
) -> None:
    """Write the photographs to learn from, a folder data set of one class."""
    from PIL import Image

    del inputs
    place = output / "train" / "frame"
    make_directory(place)
    found = training_photographs(config)
    for number, image in enumerate(interrupt.each(found.images)):
        with replacing(place / f"{number:06d}.png") as temporary:
            Image.fromarray(image).save(temporary)


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
        hog_features(config)
        if config.features.features == "hog"
        else context_features(config, inputs["context"] / WEIGHTS)
    )
    extract = mirrored(extract) if config.features.mirrored else extract
    # A batch at a time, as all of them may be more than memory holds.
    with contextlib.ExitStack() as files:
        append: Any = None
        for start in interrupt.each(range(0, len(seeds), FEATURE_BATCH)):
            places = seeds[start : start + FEATURE_BATCH]
            rows = extract(np.stack([crops[k][0] for k in places]))
            if append is None:
                file = appending(output / FEATURES, np.float16, rows.shape[1])
                append = files.enter_context(file)
            append(rows)
    if config.features.components is not None:
        features = np.load(output / FEATURES, mmap_mode="r")
        found = fit_components(features, config.features.components)
        with replacing(output / COMPONENTS) as temporary, temporary.open("wb") as file:
            np.save(file, project(features, found))


def _graph(config: Config, inputs: Inputs, output: Path, interrupt: Interrupt) -> None:
    from experiments.transitive.parents import (
        assign_parents,
        drop_small,
        fit_centroids,
    )
    from experiments.transitive.shards import Crops

    features = compare_by = np.load(inputs["features"] / FEATURES, mmap_mode="r")
    if (inputs["features"] / COMPONENTS).exists():
        features = np.load(inputs["features"] / COMPONENTS, mmap_mode="r")
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
        compare_by=None if compare_by is features else compare_by,
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
    sources: dict[str, Source] = {"train": data.source}
    if "frames" in inputs:
        sources["frames"] = folder_source(inputs["frames"], "train")
    experiment = _experiment(
        config,
        lambda config, sources: TripletProgram(
            config, data, trunk, sources.get("frames")
        ),
        sources,
    )
    _train_in(experiment, config, output, interrupt)


def _evaluate(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    from experiments.transitive.evaluation import evaluate_features

    evaluate_features(config, inputs, output, interrupt)


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
