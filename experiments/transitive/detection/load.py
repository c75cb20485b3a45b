"""The pictures of a configuration, and what selective search proposes in them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.transitive.detection.annotated import Annotated
from experiments.transitive.detection.coco_json import read_coco
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.selective_search import (
    SearchConfig,
    find_proposals,
)
from experiments.transitive.detection.splits import without_copies
from experiments.transitive.detection.voc import read_voc
from lars_jax.errors import InputError
from lars_jax.files import cache_directory
from lars_jax.train import Interrupt


def load_pictures(config: Config) -> tuple[Annotated, Annotated]:
    """Return the pictures to train on and to evaluate, of the same classes.

    Raises:
        InputError: what the reader of the layout refuses, or no object to learn from.
    """
    data = config.data
    train = _read(data.dataset, data.train_split, None)
    if not any((~picture.difficult).any() for picture in train.pictures):
        raise InputError(
            f"a detector needs objects to learn from; got none in {data.train_split} "
            f"of {data.dataset}: choose another --train-split"
        )
    test = _read(data.dataset, data.test_split, train.classes)
    if data.drop_copies:
        kept = without_copies(train.pictures, test.pictures)
        train = replace(train, pictures=kept)
    return train, test


def load_regions(
    config: Config, *splits: Annotated, interrupt: Interrupt
) -> tuple[list[np.ndarray], ...] | None:
    """Return what selective search proposes in each picture of some splits.

    Boxes are kept in the user's cache, by the bytes of the picture.

    Args:
        config: of the detector; Faster R-CNN needs none.
        *splits: the pictures.
        interrupt: ends the search on a signal.

    Returns:
        For each split float32 [P, 4] of each picture, or None.
    """
    paths = [[picture.path for picture in split.pictures] for split in splits]
    found = [search_in(config, some, interrupt) for some in paths]
    known = tuple(some for some in found if some is not None)
    return known if len(known) == len(found) else None


def search_in(
    config: Config, pictures: Sequence[Path], interrupt: Interrupt
) -> list[np.ndarray] | None:
    """Return what selective search proposes in pictures; None for Faster R-CNN."""
    if config.model.detector == "faster":
        return None
    own = config.regions
    return find_proposals(
        pictures,
        cache_directory() / "selective_search",
        SearchConfig(mode=own.search, short_side=own.search_side),
        count=max(own.proposals, own.test_proposals),
        interrupt=interrupt,
        processes=os.cpu_count() or 1,
    )


def data_files(config: Config) -> Mapping[str, Path]:
    """Return the files that say which pictures a run is of."""
    kind, _, place = config.data.dataset.partition(":")
    splits = {"train": config.data.train_split, "test": config.data.test_split}
    if kind == "voc":
        lists = Path(place) / "ImageSets" / "Main"
        return {name: lists / f"{split}.txt" for name, split in splits.items()}
    return {name: _instances(place, split) for name, split in splits.items()}


def _read(dataset: str, split: str, classes: tuple[str, ...] | None) -> Annotated:
    kind, _, place = dataset.partition(":")
    if kind == "voc":
        return read_voc(place, split, classes=classes)
    return read_coco(_instances(place, split), Path(place) / split, classes=classes)


def _instances(place: str, split: str) -> Path:
    return Path(place) / "annotations" / f"instances_{split}.json"
