"""Batches of pictures: shapes, boxes that stay on their objects, an order by seed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.detection.annotated import Picture, pack_objects
from experiments.transitive.detection.batches import (
    Pictures,
    canvases,
    epoch_batches,
    fit_scale,
    mirrored,
    pad_batch,
    train_batches,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return five pictures, each with a bright box of its own, two of them upright."""
    place = tmp_path_factory.mktemp("pictures")
    rng, made = np.random.default_rng(0), []
    for number, (height, width) in enumerate([(60, 80)] * 3 + [(90, 60)] * 2):
        pixels = np.zeros((height, width, 3), np.uint8)
        x1, y1 = rng.integers(5, 25, 2).tolist()
        x2, y2 = x1 + 24, y1 + 16
        pixels[y1:y2, x1:x2] = 255
        path = place / f"{number}.png"
        Image.fromarray(pixels).save(path)
        packed = pack_objects([(x1, y1, x2, y2)], [number % 2], [number == 2])
        made.append(Picture(path=path, height=height, width=width, **packed))
    regions = [np.concatenate([p.boxes, p.boxes / 2]) for p in made]
    return Pictures(tuple(made), regions, short=96, long=144)


def light_in(pixels, box):
    """Return the share of light inside of a box, and the box's share that is light."""
    x1, y1, x2, y2 = np.round(box).astype(int)
    inside = pixels[y1:y2, x1:x2].astype(float)
    return inside.sum() / pixels.sum(), inside.mean() / 255


@pytest.mark.parametrize("turn", [lambda shown: shown, mirrored])
def test_boxes_stay_on_their_objects(pictures, turn):
    for index in range(5):
        shown = turn(pictures.show(index))
        share, filled = light_in(shown.pixels, shown.boxes[0])
        assert share > 0.95
        assert filled > 0.95
        np.testing.assert_allclose(shown.regions[0], shown.boxes[0], rtol=1e-6)


def test_sides_follow_the_shorter_one_up_to_the_limit_of_the_longer():
    assert fit_scale(60, 80, short=96, long=144) == 1.6
    assert fit_scale(60, 120, short=96, long=144) == 1.2


def test_canvas_holds_the_largest_picture_of_its_kind(pictures):
    assert pictures.sizes.tolist() == [[96, 128]] * 3 + [[144, 96]] * 2
    assert canvases(pictures) == {"lying": (96, 128), "standing": (160, 96)}


def test_more_rows_change_nothing_that_is_there(pictures):
    shown = [pictures.show(0), pictures.show(1)]
    few = pad_batch(shown, (96, 128), objects=1, regions=2)
    many = pad_batch(shown, (96, 160), objects=4, regions=7)
    np.testing.assert_array_equal(many["image"][:, :, :128], few["image"])
    assert not many["image"][:, :, 128:].any()
    for name, rows in (("boxes", 1), ("classes", 1), ("usable", 1), ("regions", 2)):
        np.testing.assert_array_equal(many[name][:, :rows], few[name])
        assert not many[name][:, rows:].any()
    assert many["proposed"].sum() == few["proposed"].sum() == 4


def test_difficult_objects_are_not_learned_from(pictures):
    batch = pad_batch([pictures.show(2)], (96, 128), objects=1, regions=1)
    assert not batch["usable"].any()


def test_epoch_has_every_picture_and_batches_of_one_kind(pictures):
    for epoch in range(4):
        batches = epoch_batches(pictures.sizes, 2, seed=3, epoch=epoch)
        assert [len(rows) for rows in batches] == [2, 2, 2]
        assert set(np.concatenate(batches).tolist()) == set(range(5))
        assert all(len(set(map(tuple, pictures.sizes[rows]))) == 1 for rows in batches)
    orders = {
        str(epoch_batches(pictures.sizes, 2, seed=s, epoch=e))
        for s in range(3)
        for e in range(3)
    }
    assert len(orders) > 4


def test_batches_are_a_function_of_seed_and_step(pictures):
    def batches(start, seed=0):
        return list(
            train_batches(
                pictures,
                canvases(pictures),
                batch=2,
                seed=seed,
                start=start,
                stop=8,
                rows=np.arange(2),
                regions=3,
                flip=True,
            )
        )

    whole, later = batches(0), batches(5)
    assert len(whole) == 8
    for one, other in zip(whole[5:], later, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert any(
        not np.array_equal(a["boxes"], b["boxes"])
        for a, b in zip(whole, batches(0, seed=1), strict=True)
    )


def test_the_longest_picture_has_a_pixel_across():
    none = pack_objects([], [], [])
    picture = Picture(path=Path("long.png"), height=700, width=1, **none)
    pictures = Pictures([picture], None, 64, 96)
    assert pictures.size(0) == (96, 1)
    assert pictures.most_objects == 1
    assert Pictures([], None, 64, 96).sizes.shape == (0, 2)
