"""Blocks of frames, shares of names, and copies of pictures."""

import os

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.detection.annotated import Picture, pack_objects
from experiments.transitive.detection.splits import (
    split_by_blocks,
    without_copies,
)
from experiments.transitive.detection.voc import read_voc
from lars_jax.errors import InputError

NAMES = [f"frame{k:02}" for k in range(17)]


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_blocks_cover_all_names_once_and_stay_away_from_the_rest(gap):
    held = []
    for part in range(5):
        rest, block = split_by_blocks(NAMES, part=part, gap=gap)
        held += block
        places = [NAMES.index(name) for name in block]
        assert places == list(range(places[0], places[-1] + 1))
        assert len(block) in (3, 4)
        for name in rest:
            assert min(abs(NAMES.index(name) - place) for place in places) > gap
        assert len(rest) + len(block) + min(gap, places[0]) + min(
            gap, len(NAMES) - 1 - places[-1]
        ) == len(NAMES)
    assert held == NAMES


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"part": 5}, "part 5"),
        ({"part": -1}, "part -1"),
        ({"part": 0, "parts": 1}, "1 parts"),
        ({"part": 0, "parts": 18}, "18 parts"),
        ({"part": 0, "gap": -1}, "gap -1"),
        ({"part": 2, "gap": 9}, "got 9 between 17 names"),
    ],
)
def test_blocks_that_there_are_not_are_refused(more, told):
    with pytest.raises(InputError, match=told):
        split_by_blocks(NAMES, **more)


def saved(path, pixels, size):
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    image.save(path, quality=80)
    width, height = size
    return Picture(path=path, height=height, width=width, **pack_objects([], [], []))


def test_copies_are_found_in_other_sizes_and_other_things_are_not(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 9, 12, 3), dtype=np.uint8)
    learn = [
        saved(tmp_path / f"{k}.jpg", some, (120, 90)) for k, some in enumerate(pixels)
    ]
    flat = saved(tmp_path / "flat.jpg", np.zeros_like(pixels[0]), (60, 45))
    copy = saved(tmp_path / "copy.jpg", pixels[2], (200, 150))
    assert without_copies([*learn, flat], [copy, flat]) == (
        *learn[:2],
        *learn[3:],
        flat,
    )
    assert without_copies(learn, []) == tuple(learn)


DATA = os.environ.get("DETECTION_VOC", "")


@pytest.mark.skipif(
    not DATA, reason="DETECTION_VOC does not name a folder of data sets"
)
def test_six_raccoons_to_learn_from_are_tested_on():
    train = read_voc(f"{DATA}/raccoon", "train")
    test = read_voc(f"{DATA}/raccoon", "test", classes=train.class_names)
    rest = without_copies(train.pictures, test.pictures)
    lost = {p.name for p in train.pictures} - {p.name for p in rest}
    assert lost == {f"raccoon-{k}" for k in (21, 51, 52, 74, 83, 98)}
