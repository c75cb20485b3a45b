from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.transitive.detection import sampling
from experiments.transitive.detection.boxes import encode as encode_boxes
from lars_jax.errors import InputError
from tests.experiments.transitive.detection.support import all_overlaps, drawn_boxes

COUNT, DRAWS = 8, 4000

sample_rois = jax.jit(partial(sampling.sample_rois, count=COUNT))
sample_anchors = jax.jit(partial(sampling.sample_anchors, count=COUNT))
encode = jax.jit(encode_boxes)


def image(rng, proposals=40, objects=5):
    """Return proposals around objects, objects and their classes, padding in both."""
    boxes = drawn_boxes(rng, objects, 60)
    centre = boxes[rng.integers(objects, size=proposals)]
    rois = centre + np.round(rng.normal(0, 5, (proposals, 4))).astype(np.float32)
    low, high = (
        np.minimum(rois[:, :2], rois[:, 2:]),
        np.maximum(rois[:, :2], rois[:, 2:]),
    )
    rois = np.concatenate([low, high], axis=1)
    valid, boxes_valid = rng.random(proposals) < 0.9, np.arange(objects) < objects - 1
    classes = rng.integers(1, 21, objects).astype(np.int32)
    return rois, valid, boxes, classes, boxes_valid


def test_regions_are_of_the_classes_and_overlaps_that_the_rule_names():
    rng, most = np.random.default_rng(0), COUNT // 4
    for seed in range(30):
        rois, valid, boxes, classes, boxes_valid = image(rng)
        found = sample_rois(
            jax.random.key(seed), rois, valid, boxes, classes, boxes_valid
        )
        found = jax.tree.map(np.asarray, found)
        candidates = np.concatenate([rois[valid], boxes[boxes_valid]])
        used = boxes[boxes_valid]
        best = all_overlaps(candidates, used).max(axis=1)
        near, far = best >= 0.5, (best >= 0.1) & (best < 0.5)
        objects = min(most, near.sum())
        total = objects + min(COUNT - objects, far.sum())
        np.testing.assert_array_equal(found.valid, np.arange(COUNT) < total)
        match = all_overlaps(found.rois, used)
        closest = match.argmax(axis=1)
        is_object = np.arange(COUNT) < objects
        expected = np.where(is_object, classes[boxes_valid][closest], 0)
        np.testing.assert_array_equal(found.labels, expected)
        assert (match.max(axis=1)[is_object] >= 0.5).all()
        others = match.max(axis=1)[objects:total]
        assert ((others >= 0.1) & (others < 0.5)).all()
        deltas = encode(used[closest], found.rois) / np.array([[0.1, 0.1, 0.2, 0.2]])
        deltas = np.where(is_object[:, None], deltas, 0)
        np.testing.assert_allclose(found.targets, deltas, atol=1e-4)
        np.testing.assert_array_equal(found.rois[total:], 0)
        # Without replacement: no row more often than among the candidates.
        for row in found.rois[:total]:
            there = (candidates == row).all(axis=1).sum()
            assert (found.rois[:total] == row).all(axis=1).sum() <= there


def test_more_rows_that_fill_up_change_nothing():
    rng = np.random.default_rng(1)
    rois, valid, boxes, classes, boxes_valid = image(rng)
    key = jax.random.key(3)
    found = sample_rois(key, rois, valid, boxes, classes, boxes_valid)
    fill = np.tile(boxes[:1], (7, 1))
    more = sample_rois(
        jax.random.key(3),
        np.concatenate([rois, fill]),
        np.append(valid, [False] * 7),
        np.concatenate([boxes, fill]),
        np.append(classes, np.ones(7, np.int32)),
        np.append(boxes_valid, [False] * 7),
    )
    jax.tree.map(np.testing.assert_array_equal, more, found)
    found = sample_anchors(jax.random.key(4), rois, valid, boxes, boxes_valid)
    more = sample_anchors(
        jax.random.key(4),
        np.concatenate([rois, fill]),
        np.append(valid, [False] * 7),
        np.concatenate([boxes, fill]),
        np.append(boxes_valid, [False] * 7),
    )
    np.testing.assert_array_equal(more.labels[:40], found.labels)
    np.testing.assert_array_equal(more.targets[:40], found.targets)
    np.testing.assert_array_equal(more.labels[40:], -1)


def row_of_squares(order):
    """Return 12 proposals on one object and 15 of background, each of its own place."""
    near = [[0, 0, 100, 70 + i] for i in range(12)]
    far = [[0, 0, 100, 15 + i] for i in range(15)]
    rois = np.array(near + far, np.float32)[order]
    return rois, np.ones(27, bool), np.array([[0, 0, 100, 100]], np.float32)


@pytest.mark.parametrize("order", ["given", "reversed"])
def test_each_candidate_is_drawn_as_often_as_the_others(order):
    places = np.arange(27)[:: 1 if order == "given" else -1]
    rois, valid, box = row_of_squares(places)
    some, label = np.ones(1, bool), np.ones(1, np.int32)
    keys = jax.random.split(jax.random.key(5), DRAWS)
    mapped = jax.jit(jax.vmap(sample_rois, in_axes=(0, *[None] * 5)))
    found = mapped(keys, rois, valid, box, label, some)
    assert found.valid.all()
    tall = np.asarray(found.rois[:, :, 3]).astype(int)
    for rows, heights in (
        (tall[:, :2], [*range(70, 82), 100]),
        (tall[:, 2:], range(15, 30)),
    ):
        # Draws without replacement vary less than independent ones: p is not small.
        counts = np.array([(rows == height).sum() for height in heights])
        assert counts.sum() == rows.size
        assert stats.chisquare(counts).pvalue > 1e-3
    # Of pairs of objects all are as frequent.
    low, high = np.sort(tall[:, :2], axis=1).T
    pairs = np.unique(low * 1000 + high, return_counts=True)[1]
    assert len(pairs) == 13 * 12 / 2
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_anchors_are_drawn_as_often_as_the_others_of_their_sort():
    rois, valid, box = row_of_squares(np.arange(27))
    # Those below 0.3 are background, the twelve from 0.7 on are objects.
    keys = jax.random.split(jax.random.key(6), DRAWS)
    some = np.ones(1, bool)
    mapped = jax.jit(jax.vmap(sample_anchors, in_axes=(0, *[None] * 4)))
    labels = np.asarray(mapped(keys, rois, valid, box, some).labels)
    for sort, candidates in ((1, labels[:, :12]), (0, labels[:, 12:])):
        assert ((labels == sort).sum(axis=1) == COUNT // 2).all()
        counts = (candidates == sort).sum(axis=0)
        assert counts.sum() == DRAWS * COUNT // 2
        assert stats.chisquare(counts).pvalue > 1e-3


def anchor_rule(anchors, inside, boxes):
    """Return py-faster-rcnn's labels before any draw, and each one's closest box."""
    shared = all_overlaps(anchors, boxes)
    labels = np.full(len(anchors), -1)
    shared[~inside] = -1
    labels[shared.max(axis=1) < 0.3] = 0
    for box in range(len(boxes)):
        best = shared[:, box].max()
        if best > 0:
            labels[shared[:, box] == best] = 1
    labels[shared.max(axis=1) >= 0.7] = 1
    labels[~inside] = -1
    return labels, shared.argmax(axis=1)


def test_anchors_are_labelled_by_the_rule():
    rng = np.random.default_rng(2)
    every = jax.jit(partial(sampling.sample_anchors, count=80))
    seen = set()
    for seed in range(40):
        anchors, inside, boxes, _, boxes_valid = image(rng)
        labels, closest = anchor_rule(anchors, inside, boxes[boxes_valid])
        found = every(jax.random.key(seed), anchors, inside, boxes, boxes_valid)
        np.testing.assert_array_equal(found.labels, labels)
        deltas = np.asarray(encode(boxes[boxes_valid][closest], anchors))
        deltas = np.where((labels == 1)[:, None], deltas, 0)
        np.testing.assert_allclose(found.targets, deltas, atol=1e-5)
        few = sample_anchors(
            jax.random.key(seed), anchors, inside, boxes, boxes_valid
        ).labels
        objects = min(COUNT // 2, (labels == 1).sum())
        assert (few == 1).sum() == objects
        assert (few == 0).sum() == min(COUNT - objects, (labels == 0).sum())
        np.testing.assert_array_equal(few[few >= 0], labels[few >= 0])
        seen |= set(labels.tolist())
    assert seen == {-1, 0, 1}


def test_all_anchors_that_are_the_best_of_a_box_are_objects():
    # Two overlap the box by a third alike; the box at the far end meets none.
    anchors = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [90, 90, 94, 94]], np.float32)
    boxes = np.array([[2, 0, 6, 4], [40, 40, 50, 50]], np.float32)
    found = sample_anchors(
        jax.random.key(0), anchors, np.ones(3, bool), boxes, np.ones(2, bool)
    )
    assert found.labels.tolist() == [1, 1, 0]


def test_image_without_objects_has_only_background_anchors_and_no_regions():
    rng = np.random.default_rng(3)
    rois, valid, boxes, classes, _ = image(rng)
    none = np.zeros(5, bool)
    found = sample_rois(jax.random.key(0), rois, valid, boxes, classes, none)
    assert not found.valid.any()
    assert all(not np.asarray(leaf).any() for leaf in found)
    labels = sample_anchors(jax.random.key(0), rois, valid, boxes, none).labels
    assert (labels == 0).sum() == COUNT
    assert (labels == 1).sum() == 0


def test_fewer_candidates_than_the_sample_are_all_in_it():
    box, some = np.array([[0, 0, 8, 8]], np.float32), np.ones(1, bool)
    quarter = np.array([[0, 0, 4, 4]], np.float32)
    found = sample_rois(
        jax.random.key(0), quarter, some, box, np.array([7], np.int32), some
    )
    assert found.labels.tolist() == [7] + [0] * 7
    assert found.valid.tolist() == [True] * 2 + [False] * 6
    np.testing.assert_array_equal(found.rois[:2], np.concatenate([box, quarter]))


def test_what_does_not_fit_is_refused():
    key, some, four = jax.random.key(0), jnp.ones(2, bool), jnp.ones((2, 4))
    with pytest.raises(InputError, match=r"got \[2, 4\], \[2\], \[0, 4\] and \[0\]"):
        sampling.sample_anchors(key, four, some, four[:0], some[:0])
    with pytest.raises(InputError, match=r"background \(0.1, 0.6\) and foreground 0.5"):
        sampling.sample_rois(
            key, four, some, four, jnp.ones(2, int), some, background=(0.1, 0.6)
        )
