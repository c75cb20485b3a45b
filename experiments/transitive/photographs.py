"""Labelled photographs: what features are tried on, and tracks where there is no video.

`eth80:FILE` has objects from many sides; `folder:PATH` has a folder for each class.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.transitive import tracking
from experiments.transitive.config import Config, EvaluationConfig, TrackingConfig
from experiments.transitive.eth80 import RING, Eth80, read_eth80, turned
from experiments.transitive.probes import hold_out
from experiments.transitive.records import (
    MANIFEST,
    SHARDS,
    Job,
    Record,
    finish,
    make_record,
    npy_bytes,
)
from experiments.transitive.shards import crop_index, write_index
from lars_jax.data import folder_source
from lars_jax.data.decode import resize_image
from lars_jax.data.fingerprint import digest_files
from lars_jax.errors import InputError
from lars_jax.files import local_path, make_directory, replacing
from lars_jax.train.record import write_json

ETH80, FOLDER = "eth80:", "folder:"
"""What photographs begin with."""

CATEGORY, IDENTITY = "category.npy", "identity.npy"
"""int32 [videos] by the number of a video: what it shows, where that is known."""


@dataclass(frozen=True)
class Photographs:
    """Photographs with labels.

    Attributes:
        images: uint8 [N, S, S, 3].
        label: int32 [N], the class.
        thing: int32 [N], what it shows, another number for each thing of all.
        azimuth: int32 [N], degrees around the thing; None where it is not known.
        held_out: bool [N], those to test on, which nothing else may see.
        classes: names.
    """

    images: np.ndarray
    label: np.ndarray
    thing: np.ndarray
    azimuth: np.ndarray | None
    held_out: np.ndarray
    classes: tuple[str, ...]


def read_photographs(
    what: str, side: int, config: EvaluationConfig, *, seed: int
) -> Photographs:
    """Return labelled photographs, of which whole things are held out.

    Args:
        what: `eth80:FILE`, of which the views beside the objects are taken; or
            `folder:PATH`, where each image counts as a thing.
        side: pixels that they are resized to.
        config: which share is held out, and whether settings are chosen by it.
        seed: of the choice.

    Raises:
        InputError: another text, or what cannot be read.
    """
    if what.startswith(ETH80):
        found = read_eth80(what.removeprefix(ETH80))
        learn, test = _split_objects(found, config, seed)
        ring = found.elevation == RING
        if not (ring & test).any() or not (ring & learn).any():
            raise InputError(
                f"objects are seen from elevation {RING}; {what} has none to learn "
                "from, or none to test on: name a file with such views"
            )
        found, learn, test = found.take(ring), learn[ring], test[ring]
        images, label, thing = found.images, found.label, found.thing
        azimuth, classes = found.azimuth, found.categories
    elif what.startswith(FOLDER):
        source = folder_source(what.removeprefix(FOLDER), "train")
        images, labels = zip(*(source[k] for k in range(len(source))), strict=True)
        label, azimuth = np.asarray(labels, np.int32), None
        thing, classes = np.arange(len(label), dtype=np.int32), source.class_names
        learn, test = split_things(label, thing, config, seed=seed)
    else:
        raise InputError(
            f"photographs are eth80:FILE or folder:PATH; got {what!r}: set "
            "--photographs to one"
        )
    some = np.flatnonzero(learn | test)
    return Photographs(
        np.stack([resize_image(images[k], side) for k in some]),
        label[some],
        thing[some],
        None if azimuth is None else azimuth[some],
        test[some],
        classes,
    )


def photograph_digests(what: str) -> dict[str, str]:
    """Return digests of the files of `eth80:FILE` or `folder:PATH`.

    Raises:
        InputError: there are none.
    """
    if what.startswith(ETH80):
        path = local_path(what.removeprefix(ETH80))
        return digest_files(path.parent, [path.name])
    source = folder_source(what.removeprefix(FOLDER), "train")
    return dict(source.fingerprint().parts)


def split_things(
    label: np.ndarray, thing: np.ndarray, config: EvaluationConfig, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which photographs to learn from, and which to test on, bool [N] each.

    Args:
        label: int [N], the class of each.
        thing: int [N], which thing of its class it shows.
        config: which share is held out; or, to choose settings by, which share of the
            others is tested on, while what is held out is in neither.
        seed: of the choice.

    >>> label, thing = np.zeros(8, int), np.arange(8)
    >>> for tuning in (False, True):
    ...     config = EvaluationConfig(held_out=0.25, tuning=tuning)
    ...     print(*(some.sum() for some in split_things(label, thing, config, seed=0)))
    6 2
    4 2
    """
    held = hold_out(label, thing, config.held_out, seed=seed)
    if not config.tuning:
        return ~held, held
    rest, test = np.flatnonzero(~held), np.zeros(len(label), bool)
    test[rest] = hold_out(label[rest], thing[rest], config.held_out, seed=seed)
    return ~held & ~test, test


def training_photographs(config: Config) -> Eth80:
    """Return the photographs of ETH-80 that a pipeline may learn from."""
    found = read_eth80(config.video.videos.removeprefix(ETH80))
    return found.take(_split_objects(found, config.evaluation, config.seed)[0])


def _split_objects(
    found: Eth80, config: EvaluationConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split all views, whoever then needs which: one split, whatever is left out."""
    learn, test = split_things(found.label, found.thing, config, seed=seed)
    for label, name in enumerate(found.categories):
        count = len(np.unique(found.thing[test & (found.label == label)]))
        if count == 1:
            # No neighbour could be right.
            raise InputError(
                "an object is recognised by others of its class that are held out; of "
                f"{name} one alone is: set --held-out to more"
            )
    return learn, test


def photograph_tracks(
    photographs: Eth80, degrees: float, config: TrackingConfig, directory: Path
) -> list[Record]:
    """Write a track for each view: it, and the same object some degrees on.

    The files are those of `extract.track_videos`, each object in place of a video, and
    what each object is.

    Args:
        photographs: those to learn from.
        degrees: between the two ends of a track.
        config: size and quality of the crops.
        directory: where to.

    Raises:
        InputError: no view has another so many degrees on.
    """
    make_directory(directory / SHARDS)
    ends = turned(photographs, degrees)
    seeds = np.flatnonzero((ends >= 0) & (photographs.elevation == RING))
    if not len(seeds):
        raise InputError(
            "a track needs the same object from another side; no view has one "
            f"{degrees:g} degrees on: set --turn to a multiple of 22.5"
        )
    records, jobs = [], []
    things = np.unique(photographs.thing[seeds])
    for number, thing in enumerate(things):
        some = seeds[photographs.thing[seeds] == thing]
        tracks = _tracks(photographs, some, ends[some], config)
        category = photographs.categories[photographs.label[some[0]]]
        name = f"{category} {thing}"
        job = Job(number, name, Path(name), directory / SHARDS, "")
        window = photographs.images.shape[1]
        files = {
            ".jpegs": b"".join(crop for pair in tracks.crops for crop in pair),
            ".npy": npy_bytes(tracks.rows),
            ".index.npy": npy_bytes(crop_index(number, tracks, window)),
        }
        counts = {tracking.OUTCOMES[tracking.FOLLOWED]: len(some)}
        record = make_record(job, frames=len(some), counts=counts)
        records.append(finish(job, record, files))
        jobs.append(job)
    write_index(jobs, records, directory)
    write_json(directory / MANIFEST, records)
    first = [np.flatnonzero(photographs.thing == thing)[0] for thing in things]
    for name, values in ((CATEGORY, photographs.label[first]), (IDENTITY, things)):
        with replacing(directory / name) as temporary:
            temporary.write_bytes(npy_bytes(values.astype(np.int32)))
    return records


def _tracks(
    photographs: Eth80, seeds: np.ndarray, ends: np.ndarray, config: TrackingConfig
) -> tracking.Tracks:
    window = photographs.images.shape[1]
    rows = np.zeros(len(seeds), tracking.TRACK)
    rows["outcome"] = tracking.FOLLOWED
    rows["frame"], rows["end_frame"] = seeds, ends
    crops = [
        (
            tracking.crop_jpeg(photographs.images[seed], 0, 0, window, config),
            tracking.crop_jpeg(photographs.images[end], 0, 0, window, config),
        )
        for seed, end in zip(seeds, ends, strict=True)
    ]
    return tracking.Tracks(rows, crops, len(seeds))
