import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.detection import nms
from lars_jax.errors import InputError
from tests.experiments.transitive.detection.support import all_overlaps, drawn_boxes

keep = jax.jit(nms.keep)
top_boxes = jax.jit(nms.top_boxes, static_argnums=3, static_argnames="pre")


def greedy(boxes, scores, valid, threshold):
    """Suppression as it is told: the best, then the best that is left, and so on."""
    shared, left, kept = all_overlaps(boxes, boxes), list(np.flatnonzero(valid)), []
    while left:
        best = max(left, key=lambda i: (scores[i], -i))
        kept.append(best)
        left = [i for i in left if i != best and shared[best, i] <= threshold]
    return kept


def problem(rng, count=24):
    boxes = drawn_boxes(rng, count, 20)
    scores = rng.integers(0, 8, count).astype(np.float32)  # Of which many are equal.
    return boxes, scores, rng.random(count) < 0.8


def test_greedy_suppression_is_met_exactly():
    rng = np.random.default_rng(0)
    for _ in range(60):
        boxes, scores, valid = problem(rng)
        threshold = float(rng.choice([0.05, 0.28, 0.53, 0.71]))
        expected = np.zeros(len(boxes), bool)
        expected[greedy(boxes, scores, valid, threshold)] = True
        found = keep(boxes, scores, valid, threshold)
        np.testing.assert_array_equal(found, expected)


def test_best_boxes_are_those_kept_in_order_of_score():
    rng = np.random.default_rng(1)
    for _ in range(40):
        boxes, scores, valid = problem(rng)
        best = sorted(np.flatnonzero(valid), key=lambda i: (-scores[i], i))[:10]
        among = np.isin(np.arange(len(boxes)), best)
        expected = greedy(boxes, scores, among, 0.3)[:5]
        found = top_boxes(boxes, scores, valid, 5, 0.3, pre=10)
        assert found.index[found.valid].tolist() == expected
        np.testing.assert_array_equal(found.boxes[: len(expected)], boxes[expected])
        np.testing.assert_array_equal(found.scores[: len(expected)], scores[expected])
        for rest in (found.index, found.boxes, found.scores):
            np.testing.assert_array_equal(rest[len(expected) :], 0)


def test_a_chain_suppresses_every_other_box():
    # Each box shares a third with the next, and the scores fall: one round a box.
    low = jnp.arange(24.0)
    boxes = jnp.stack([low, 0 * low, low + 2, 0 * low + 1], axis=1)
    found = keep(boxes, -low, jnp.ones(24, bool), 0.3)
    np.testing.assert_array_equal(found, np.arange(24) % 2 == 0)


def test_of_equal_boxes_of_equal_scores_the_first_is_kept():
    boxes = jnp.tile(jnp.array([[1.0, 1.0, 5.0, 5.0]]), (24, 1))
    found = keep(boxes, jnp.zeros(24), jnp.arange(24) >= 3, 0.99)
    assert np.flatnonzero(found).tolist() == [3]


def test_an_overlap_of_exactly_the_threshold_is_kept():
    boxes = jnp.array([[0.0, 0, 2, 2], [0, 0, 2, 1]])
    for threshold, kept in ((0.5, 2), (0.499, 1)):
        found = keep(boxes, jnp.array([2.0, 1.0]), jnp.ones(2, bool), threshold)
        assert found.sum() == kept


def test_what_fills_up_changes_nothing_whatever_it_holds():
    rng = np.random.default_rng(2)
    boxes, scores, _ = problem(rng, 16)
    fill = np.concatenate([boxes[:4], np.full((4, 4), np.nan, np.float32)])
    valid = np.arange(24) < 16
    more = np.concatenate([boxes, fill]), np.append(scores, [99.0] * 4 + [np.nan] * 4)
    found = keep(more[0], more[1].astype(np.float32), valid, 0.3)
    alone = np.zeros(16, bool)
    alone[greedy(boxes, scores, valid[:16], 0.3)] = True
    np.testing.assert_array_equal(found, np.append(alone, [False] * 8))


def test_order_of_the_input_does_not_matter_where_scores_differ():
    rng = np.random.default_rng(3)
    boxes, _, valid = problem(rng)
    scores, order = rng.permutation(24).astype(np.float32), rng.permutation(24)
    found = keep(boxes, scores, valid, 0.3)
    moved = keep(boxes[order], scores[order], valid[order], 0.3)
    np.testing.assert_array_equal(moved, found[order])


def test_none_of_none():
    boxes, none = jnp.ones((24, 4)), jnp.zeros(24, bool)
    assert not keep(boxes, jnp.ones(24), none, 0.3).any()
    assert not top_boxes(boxes, jnp.ones(24), none, 5, 0.3, pre=10).valid.any()
    empty = jnp.zeros((0, 4)), jnp.zeros(0), jnp.zeros(0, bool)
    assert nms.keep(*empty, 0.3).shape == (0,)


def test_more_are_asked_for_than_there_are():
    boxes = jnp.array([[0.0, 0, 2, 2], [5, 5, 9, 9]])
    found = top_boxes(boxes, jnp.array([1.0, 2.0]), jnp.ones(2, bool), 4, 0.3)
    assert found.index.tolist() == [1, 0, 0, 0]
    assert found.valid.tolist() == [True, True, False, False]


def test_classes_do_not_suppress_each_other():
    rng = np.random.default_rng(4)
    boxes, scores, valid = map(
        np.stack, zip(*[problem(rng) for _ in range(3)], strict=True)
    )
    found = jax.jit(nms.keep_by_class)(boxes, scores, valid, 0.3)
    for of_class, *given in zip(found, boxes, scores, valid, strict=True):
        np.testing.assert_array_equal(of_class, keep(*given, 0.3))


def test_shapes_and_counts_that_do_not_fit_are_refused():
    boxes = jnp.ones((3, 4))
    with pytest.raises(InputError, match=r"got \[3, 4\], \[2\] and \[3\]"):
        nms.keep(boxes, jnp.ones(2), jnp.ones(3, bool), 0.3)
    with pytest.raises(InputError, match="got pre=6000 and count=0"):
        nms.top_boxes(boxes, jnp.ones(3), jnp.ones(3, bool), 0, 0.3)
