"""The pictures of a configuration, and what selective search proposes in them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.transitive.detection.annotated import Annotated, Picture
from experiments.transitive.detection.coco_json import read_coco
from experiments.transitive.detection.config import Config, DataConfig
from experiments.transitive.detection.selective_search import (
    SearchConfig,
    find_proposals,
)
from experiments.transitive.detection.splits import without_copies
from experiments.transitive.detection.voc import read_voc
from lars_jax.errors import InputError
from lars_jax.files import cache_directory
from lars_jax.train import Interrupt


def load_pictures(config: Config) -> dict[str, Annotated]:
    """Return the pictures to train on and to evaluate, of the same classes, by split.

    Raises:
        InputError: what the reader of the layout refuses, or no object to learn from or
            to be scored by.
    """
    data = config.data
    train = _read(data.dataset, data.train_split, None)
    test = _read(data.dataset, data.test_split, train.class_names)
    notes = list(train.notes)
    if data.drop_copies:
        kept = without_copies(train.pictures, test.pictures)
        if left_out := len(train) - len(kept):
            notes.append(f"copies of pictures to evaluate are left out: {left_out}")
        train = replace(train, pictures=kept)
    _check_objects(train, "learn from", "--train-split", data)
    _check_objects(test, "be scored by", "--test-split", data)
    both = {one.path for one in train.pictures} & {one.path for one in test.pictures}
    if both:
        notes.append(f"pictures both to train on and to evaluate: {len(both)}")
    return {"train": replace(train, notes=tuple(notes)), "test": test}


def search_in(
    config: Config, pictures: Sequence[Picture], interrupt: Interrupt
) -> list[np.ndarray] | None:
    """Return what selective search proposes in pictures; None for Faster R-CNN.

    Boxes are kept in the user's cache, by the bytes of the picture.

    Args:
        config: of the detector; Faster R-CNN needs none.
        pictures: to look at.
        interrupt: ends the search on a signal.

    Returns:
        float32 [P, 4] of each picture, or None.
    """
    if config.model.detector == "faster":
        return None
    own = config.regions
    return find_proposals(
        [picture.path for picture in pictures],
        cache_directory() / "selective_search",
        SearchConfig(mode=own.search, short_side=own.search_side),
        count=max(own.proposals, own.test_proposals),
        interrupt=interrupt,
        processes=os.cpu_count() or 1,
    )


def _check_objects(data: Annotated, purpose: str, flag: str, said: DataConfig) -> None:
    if not any((~picture.difficult).any() for picture in data.pictures):
        dropped = ", or --no-drop-copies" if said.drop_copies else ""
        raise InputError(
            f"a detector needs objects to {purpose}, difficult ones apart; got none in "
            f"{len(data)} pictures of {said.dataset}: choose another {flag}{dropped}"
        )


def _read(dataset: str, split: str, classes: tuple[str, ...] | None) -> Annotated:
    kind, _, place = dataset.partition(":")
    if kind == "voc":
        return read_voc(place, split, classes=classes)
    file = Path(place) / "annotations" / f"instances_{split}.json"
    return read_coco(file, Path(place) / split, classes=classes)
