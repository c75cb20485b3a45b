"""The crops of tracks: JPEG files one after another, a shard for each video.

    DIRECTORY/shards/000012.jpegs      crops of the video of that number
    DIRECTORY/shards/000012.index.npy  rows of `INDEX`, its tracks counted from 0
    DIRECTORY/index.npy                rows of `INDEX` of all videos, in their order
    DIRECTORY/tracks.npy               rows of `tracking.TRACK`, and of which video

A crop is read by its place in the index, from any thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from experiments.transitive import tracking
from experiments.transitive.records import (
    SHARDS,
    Job,
    Record,
    load_array,
    npy_bytes,
    read_records,
)
from lars_jax.data import Fingerprint
from lars_jax.data.decode import decode_image
from lars_jax.errors import naming
from lars_jax.files import replacing

INDEX = np.dtype(
    [
        ("offset", np.int64),
        ("length", np.int32),
        ("video", np.int32),
        ("track", np.int32),
        ("end", np.int8),
        ("frame", np.int32),
        ("x", np.int32),
        ("y", np.int32),
        ("side", np.int32),
    ]
)
"""A crop: where its JPEG file lies in the shard of its video, number of the video and
of the track (of all tracks of all videos), 0 for the seed and 1 for the tracked end,
its frame, left, top and side of its box in pixels of the resized frame. The seed of
track t is crop 2 t, its end crop 2 t + 1."""


def crop_index(video: int, tracks: tracking.Tracks, window: int) -> np.ndarray:
    """Return the rows of `INDEX` of a video, whose tracks count from 0."""
    followed = tracks.rows[tracks.rows["outcome"] == tracking.FOLLOWED]
    index = np.zeros(2 * len(followed), INDEX)
    lengths = [len(crop) for pair in tracks.crops for crop in pair]
    index["length"] = lengths
    index["offset"] = np.cumsum([0, *lengths])[:-1]
    index["video"], index["side"] = video, window
    index["track"] = np.arange(len(index)) // 2
    index["end"] = np.arange(len(index)) % 2
    for end, prefix in enumerate(("", "end_")):
        for name in ("frame", "x", "y"):
            index[name][end::2] = followed[prefix + name]
    return index


def write_index(
    jobs: Sequence[Job], records: Sequence[Record], directory: Path
) -> None:
    """Write the index of all crops, and the tracks with the number of their video."""
    rows, index, tracks = [], [np.zeros(0, INDEX)], 0
    described = np.dtype([("video", np.int32), *tracking.TRACK.descr])
    for job, record in zip(jobs, records, strict=True):
        if record["reason"]:
            continue
        part = load_array(job.file(".index.npy"))
        part["track"] += tracks
        tracks += len(part) // 2
        index.append(part)
        found = load_array(job.file(".npy"))
        row = np.zeros(len(found), described)
        row["video"] = job.number
        for name in tracking.TRACK.names or ():
            row[name] = found[name]
        rows.append(row)
    for name, parts in (("index.npy", index), ("tracks.npy", rows)):
        with replacing(directory / name) as temporary:
            temporary.write_bytes(npy_bytes(np.concatenate(parts)))


@dataclass(frozen=True, eq=False)
class Crops:
    """The crops of `track_videos`, a `lars_jax.data.Source` that is read from disk.

    Attributes:
        directory: what `track_videos` filled.

    Raises:
        InputError: when read, files that are missing or damaged.
    """

    directory: Path

    @cached_property
    def index(self) -> np.ndarray:
        """Rows of `INDEX`, read where they are used."""
        return load_array(self.directory / "index.npy", mapped=True)

    @cached_property
    def videos(self) -> dict[int, str]:
        """Path of each video by its number."""
        return {r["number"]: r["video"] for r in read_records(self.directory)}

    @property
    def name(self) -> str:
        """What the crops are called."""
        return f"crops:{self.directory}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The one class that there is: nothing is known of a crop."""
        return ("crop",)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        row = self.index[index]
        path = self.directory / SHARDS / f"{int(row['video']):06d}.jpegs"
        with naming(path, "read"), path.open("rb") as file:
            file.seek(int(row["offset"]))
            data = file.read(int(row["length"]))
        where = f"crop {index} of {path}"
        return decode_image(data, channels=3, where=where), 0

    def fingerprint(self) -> Fingerprint:
        """Return what the crops are known by: the checksums of their shards."""
        records = read_records(self.directory)
        parts = {record["video"]: str(record["files"]) for record in records}
        return Fingerprint(len(self), self.class_names, parts)
