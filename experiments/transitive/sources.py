"""The stages that bring crops: from video, or from photographs in place of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.transitive.beam import Runner
from experiments.transitive.config import Config
from experiments.transitive.demo import render_clips
from experiments.transitive.extract import mine_videos, track_videos
from experiments.transitive.photographs import (
    photograph_digests,
    photograph_tracks,
    training_photographs,
)
from experiments.transitive.pictures import mined_sheet, track_sheet
from experiments.transitive.progress import watched
from experiments.transitive.shards import Crops
from experiments.transitive.video import VideoError, find_videos, read_frames
from lars_jax.errors import InputError
from lars_jax.files import make_directory, replacing
from lars_jax.report import save_png
from lars_jax.train import Interrupt
from lars_jax.train.record import read_json, write_json

Inputs = Mapping[str, Path]


def video_digests(config: Config) -> dict[str, str]:
    """Return digests of the files that videos, or photographs in their place, are in.

    Raises:
        InputError: there are none.
    """
    named = config.video.videos
    if named.startswith("folder:"):
        return dict(find_videos(named.removeprefix("folder:")).fingerprint().parts)
    return {} if named == "demo" else photograph_digests(named)


def video_folder(directory: Path) -> Path:
    """Return the folder of the videos, from the directory of their stage."""
    root = read_json(directory / "videos.json")["root"]
    return Path(root) if root else directory / "clips"


def make_videos(
    config: Config, inputs: Any, output: Path, interrupt: Interrupt
) -> None:
    """Find the videos, or render the clips of the demo."""
    del inputs
    videos, root = config.video.videos, ""
    if videos == "demo":
        render_clips(
            config.video,
            config.seed,
            output,
            each=lambda clips: watched(interrupt, clips, "render", "clip"),
        )
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


def mine(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt, runner: Runner
) -> None:
    """Look for objects that move."""
    root = video_folder(inputs["videos"])
    mine_videos(
        find_videos(root), config.mining, output, interrupt=interrupt, runner=runner
    )
    save_png(output / "mined.png", mined_sheet(root, output, config.mining))


def track(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt, runner: Runner
) -> None:
    """Follow every box that mining found."""
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


def track_photographs(
    config: Config, inputs: Any, output: Path, interrupt: Interrupt
) -> None:
    """Write a track for each view of objects to learn from."""
    del inputs
    found = interrupt.run(lambda: training_photographs(config))
    photograph_tracks(found, config.video.turn, config.tracking, output)
    save_png(output / "tracks.png", track_sheet(Crops(output)))


def take_photographs(
    config: Config, inputs: Any, output: Path, interrupt: Interrupt
) -> None:
    """Write the photographs to learn from, a folder data set of one class."""
    del inputs
    place = output / "train" / "frame"
    make_directory(place)
    found = training_photographs(config)
    for number in watched(interrupt, range(len(found.images)), "frames", "image"):
        with replacing(place / f"{number:06d}.png") as temporary:
            Image.fromarray(found.images[number]).save(temporary)


def take_frames(
    config: Config, inputs: Inputs, output: Path, interrupt: Interrupt
) -> None:
    """Write some frames of every video, a folder data set of one class."""
    videos = find_videos(video_folder(inputs["videos"]))
    place = output / "train" / "frame"
    make_directory(place)
    for number in watched(interrupt, range(len(videos.files)), "frames", "video"):
        try:
            for k, frame in enumerate(read_frames(videos.files[number])):
                interrupt.check()
                if k // config.frames.frame_stride >= config.frames.most_frames:
                    break
                if k % config.frames.frame_stride == 0:
                    name = place / f"{number:06d}-{k:06d}.jpg"
                    with replacing(name) as temporary:
                        Image.fromarray(frame).save(temporary, quality=95)
        except VideoError:
            continue  # Mining has said so.
