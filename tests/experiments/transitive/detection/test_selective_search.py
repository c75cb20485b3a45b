"""Proposals: what they find, that they repeat, and that files are made once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.detection import selective_search as module
from experiments.transitive.detection.average_precision import overlaps
from experiments.transitive.detection.selective_search import (
    SearchConfig,
    find_proposals,
    selective_search,
)
from lars_jax.errors import InputError
from lars_jax.train import Interrupt, Interrupted

FAST = SearchConfig(min_side=4)


def scene(seed=0, height=60, width=80):
    """Rectangles of plain colours on noise, and their boxes."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 110, (height, width, 3)).astype(np.uint8)
    boxes = [(5, 8, 30, 28), (45, 10, 70, 50), (10, 38, 34, 55)]
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2] = np.roll((240, 20, 20), k)
    return image, np.array(boxes, np.float32)


def recall(proposals, boxes, threshold=0.5):
    """Return the share of boxes that a proposal overlaps."""
    near = [overlaps(w, p).max(axis=1) for p, w in zip(proposals, boxes, strict=True)]
    return np.mean(np.concatenate(near) >= threshold)


def test_rectangles_are_found():
    image, wanted = scene()
    for mode in ("fast", "quality"):
        boxes = selective_search(image, SearchConfig(mode=mode))
        assert boxes.dtype == np.float32
        assert recall([boxes], [wanted], 0.9) == 1.0
        assert len(np.unique(boxes, axis=0)) == len(boxes)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [80, 60]).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 8).all()


def test_calls_and_processes_find_the_same_in_the_same_order():
    image, _ = scene(1)
    first = selective_search(image, FAST)
    assert len(first) > 5
    np.testing.assert_array_equal(first, selective_search(image, FAST))
    program = (
        "from tests.experiments.transitive.detection.test_selective_search import *\n"
        "print(selective_search(scene(1)[0], FAST).tobytes().hex())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert other.stdout.strip() == first.tobytes().hex()


def test_the_seed_orders():
    image, _ = scene(2)
    configs = [SearchConfig(seed=k, min_side=2) for k in range(9)]
    found = [selective_search(image, config) for config in configs]
    assert len({boxes.tobytes() for boxes in found}) == 9
    for boxes in found:
        np.testing.assert_array_equal(
            np.unique(boxes, axis=0), np.unique(found[0], axis=0)
        )


def test_boxes_of_a_reduced_picture_are_in_pixels_of_the_whole():
    image, wanted = scene()
    large = image.repeat(3, axis=0).repeat(3, axis=1)
    boxes = selective_search(large, SearchConfig(short_side=60))
    assert recall([boxes], [3 * wanted], 0.8) == 1.0
    assert [0, 0, 240, 180] in boxes.tolist()
    # One that is smaller is not enlarged.
    np.testing.assert_array_equal(
        selective_search(image, SearchConfig(short_side=200)),
        selective_search(image, SearchConfig()),
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (5, 4)])
def test_the_smallest_picture_is_a_proposal_itself(shape):
    boxes = selective_search(np.zeros((*shape, 3), np.uint8), SearchConfig())
    np.testing.assert_array_equal(boxes, [[0, 0, shape[1], shape[0]]])


@pytest.mark.parametrize(
    ("image", "config", "told"),
    [
        (np.zeros((9, 9), np.uint8), FAST, r"got uint8 \[9, 9\]"),
        (np.zeros((9, 9, 3)), FAST, r"got float64 \[9, 9, 3\]"),
        (scene()[0], SearchConfig(mode="slow"), "mode='slow'"),  # pyright: ignore
        (scene()[0], SearchConfig(short_side=7), "short_side=7"),
        (scene()[0], SearchConfig(min_side=0), "min_side=0"),
    ],
)
def test_what_cannot_be_searched_is_refused(image, config, told):
    with pytest.raises(InputError, match=told):
        selective_search(image, config)


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for k in range(3):
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(scene(k)[0]).save(paths[-1])
    return paths


def find(pictures, directory, config=FAST, **more):
    more = {"count": 10**6, "interrupt": Interrupt()} | more
    return find_proposals(pictures, directory, config, **more)


def test_what_is_there_is_not_searched_again(pictures, tmp_path, monkeypatch):
    cache, searched = tmp_path / "made" / "cache", []
    search = module.selective_search

    def counted(image, config):
        searched.append(image.shape)
        return search(image, config)

    monkeypatch.setattr(module, "selective_search", counted)
    find(pictures[:2], cache)
    assert len(searched) == 2
    found = find(pictures, cache)
    assert len(searched) == 3
    for boxes, k in zip(found, range(3), strict=True):
        np.testing.assert_array_equal(boxes, search(scene(k)[0], FAST))
    # A picture by another name is the same, and fewer are the first.
    pictures[0].rename(tmp_path / "other.png")
    few = find([tmp_path / "other.png"], cache, count=3)
    np.testing.assert_array_equal(few[0], found[0][:3])
    assert len(searched) == 3
    # Another configuration, other pixels, or a damaged file are not.
    find(pictures[1:2], cache, SearchConfig(seed=1))
    Image.fromarray(scene(9)[0]).save(pictures[1])
    find(pictures[1:2], cache)
    assert len(searched) == 5
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    np.testing.assert_array_equal(find(pictures[2:], cache)[0], found[2])
    assert len(searched) == 6


def test_an_end_leaves_whole_files_alone(pictures, tmp_path, monkeypatch):
    cache, search = tmp_path / "cache", module.selective_search

    def fails(image, config):
        if np.array_equal(image, scene(2)[0]):
            raise KeyboardInterrupt
        return search(image, config)

    monkeypatch.setattr(module, "selective_search", fails)
    with pytest.raises(KeyboardInterrupt):
        find(pictures, cache)
    assert len(list(cache.iterdir())) == 2
    assert all(path.suffix == ".npy" for path in cache.iterdir())


def test_a_signal_ends_the_search(pictures, tmp_path):
    class Asked(Interrupt):
        def check(self):
            raise Interrupted

    with pytest.raises(Interrupted):
        find(pictures, tmp_path / "cache", interrupt=Asked())


@pytest.mark.slow
def test_two_processes_find_what_one_finds(pictures, tmp_path):
    one = find(pictures, tmp_path / "one")
    two = find(pictures, tmp_path / "two", processes=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "broken.jpg"
    with pytest.raises(InputError, match=r"broken.jpg could not be read"):
        find([path], tmp_path / "cache")
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken.jpg is not"):
        find([path], tmp_path / "cache")
    with pytest.raises(InputError, match="got 0"):
        find([], tmp_path / "cache", count=0)


DATA = os.environ.get("DETECTION_VOC", "")


@pytest.mark.slow
@pytest.mark.skipif(
    not DATA, reason="DETECTION_VOC does not name a folder of data sets"
)
def test_raccoons_are_among_the_proposals(tmp_path):
    from experiments.transitive.detection.voc import read_voc

    some = read_voc(f"{DATA}/raccoon", "test").pictures[:8]
    found = find([p.path for p in some], tmp_path, SearchConfig(short_side=192))
    assert recall(found, [one.boxes for one in some]) >= 0.8
