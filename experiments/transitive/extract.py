"""The two stages that read video: moving objects are mined, and followed.

Each goes through the videos in several processes, and leaves

    DIRECTORY/videos.json          what came of each video, or why it was passed over
    DIRECTORY/shards/000012.npy    rows of `mining.LOOKED_AT`, or of `tracking.TRACK`

and tracking also the crops, as `shards.py` says.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from experiments.transitive import mining, tracking
from experiments.transitive.beam import WITHOUT_BEAM, Runner
from experiments.transitive.config import MiningConfig, TrackingConfig
from experiments.transitive.pool import Check
from experiments.transitive.records import (
    MANIFEST,
    SHARDS,
    Job,
    Record,
    count_outcomes,
    finish,
    finish_unusable,
    load_array,
    make_record,
    npy_bytes,
    read_records,
    require_some,
    run_videos,
    settings_digest,
)
from experiments.transitive.shards import crop_index, write_index
from experiments.transitive.video import Videos, announced_frames, opencv
from lars_jax.train import Interrupt
from lars_jax.train.record import write_json


def mine_videos(
    videos: Videos,
    config: MiningConfig,
    directory: Path,
    *,
    processes: int | None = None,
    interrupt: Interrupt | None = None,
    runner: Runner = WITHOUT_BEAM,
) -> list[Record]:
    """Look for moving objects in every video, and write what came of it.

    Args:
        videos: which.
        config: how.
        directory: where to; what is whole there is not made again.
        processes: how many videos are mined at a time; None: one for each processor.
        interrupt: ends the work on a signal.
        runner: does the work; a pool of processes, or one of Beam.

    Returns:
        The record of every video, in their order, as in `videos.json`.

    Raises:
        InputError: nothing was found at all, or files cannot be written.
        Interrupted: a signal came.
    """
    opencv()
    mining.require_window(config.frame_height, config.frame_width, config.window)
    work = partial(_mine, config=config)
    settings = asdict(config)
    jobs = [
        Job(number, name, path, directory / SHARDS, settings_digest(settings, path))
        for number, (name, path) in enumerate(
            zip(videos.names, videos.files, strict=True)
        )
    ]
    records = run_videos(work, jobs, directory, "mine", processes, interrupt, runner)
    require_some(
        records, mining.OUTCOMES[mining.KEPT], "mining must keep frames", _MINING
    )
    write_json(directory / MANIFEST, records)
    return records


_MINING = (
    "lower --least-moving or --moving, raise --most-moving, or use video in which "
    "objects fill more of the frame"
)


def track_videos(
    root: Path,
    mined: Path,
    mining_config: MiningConfig,
    config: TrackingConfig,
    directory: Path,
    *,
    processes: int | None = None,
    interrupt: Interrupt | None = None,
    runner: Runner = WITHOUT_BEAM,
) -> list[Record]:
    """Follow every box that mining found, and write the crops of both ends.

    Args:
        root: the folder of the videos.
        mined: the directory that `mine_videos` filled.
        mining_config: what it was filled with.
        config: how boxes are followed.
        directory: where to; what is whole there is not made again.
        processes: how many videos at a time; None: one for each processor.
        interrupt: ends the work on a signal.
        runner: does the work; a pool of processes, or one of Beam.

    Returns:
        The record of every video with a box, in their order, as in `videos.json`.

    Raises:
        InputError: no track was kept, or files cannot be read or written.
        Interrupted: a signal came.
    """
    opencv()
    settings = asdict(mining_config) | asdict(config)
    jobs = []
    for number, record in enumerate(read_records(mined)):
        rows = np.zeros(0, mining.LOOKED_AT)
        if not record["reason"]:
            rows = read_mined(mined, number)
        boxes = tuple(
            (int(row["frame"]), int(row["x"]), int(row["y"]))
            for row in rows[mining.has_box(rows)]
        )
        path = root / record["video"]
        digested = settings_digest({**settings, "boxes": boxes}, path)
        job = Job(number, record["video"], path, directory / SHARDS, digested, boxes)
        jobs += [job] if boxes else []
    work = partial(_track, mining_config=mining_config, config=config)
    records = run_videos(work, jobs, directory, "track", processes, interrupt, runner)
    require_some(
        records, tracking.OUTCOMES[tracking.FOLLOWED], "tracks must be kept", _TRACKING
    )
    write_index(jobs, records, directory)
    write_json(directory / MANIFEST, records)
    return records


_TRACKING = "lower --track-frames, or use longer video without cuts"


def read_mined(directory: Path, number: int) -> np.ndarray:
    """Return the rows of `mining.LOOKED_AT` of a video."""
    return load_array(directory / SHARDS / f"{number:06d}.npy")


def _mine(job: Job, check: Check, *, config: MiningConfig) -> Record:
    try:
        rows, frames = mining.mine_video(job.path, config, check)
    except Exception as error:
        return finish_unusable(job, error)
    kept = int(mining.has_box(rows).sum())
    announced = announced_frames(job.path)
    note = None
    if frames < announced and kept < config.tracks:
        note = f"it ends after {frames} frames of the {announced} that it announces"
    record = make_record(
        job,
        frames=frames,
        counts=count_outcomes(rows["outcome"], mining.OUTCOMES),
        reason="too short to show motion" if frames < 2 else None,
        note=note,
    )
    return finish(job, record, {".npy": npy_bytes(rows)})


def _track(
    job: Job, check: Check, *, mining_config: MiningConfig, config: TrackingConfig
) -> Record:
    try:
        tracks = tracking.track_video(job.path, job.boxes, mining_config, config, check)
    except Exception as error:
        return finish_unusable(job, error)
    content = b"".join(crop for pair in tracks.crops for crop in pair)
    index = crop_index(job.number, tracks, mining_config.window)
    record = make_record(
        job,
        frames=tracks.frames,
        counts=count_outcomes(tracks.rows["outcome"], tracking.OUTCOMES),
    )
    files = {
        ".jpegs": content,
        ".npy": npy_bytes(tracks.rows),
        ".index.npy": npy_bytes(index),
    }
    return finish(job, record, files)
