import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.detection import boxes
from tests.experiments.transitive.detection.support import all_overlaps, drawn_boxes

overlaps, encode, decode = map(jax.jit, (boxes.overlaps, boxes.encode, boxes.decode))


def test_overlaps_are_the_definition_and_symmetric():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = drawn_boxes(rng, 12), drawn_boxes(rng, 9)
        found = overlaps(a, b)
        np.testing.assert_allclose(found, all_overlaps(a, b), rtol=2e-6)
        np.testing.assert_array_equal(found, overlaps(b, a).T)
        np.testing.assert_array_equal(jnp.diag(overlaps(a, a)), 1.0)


def test_overlap_by_a_pencil():
    a = jnp.array([[0.0, 0.0, 2.0, 2.0]])
    others = [[0, 0, 2, 1], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 2, 2], [1, 1, 1, 1]]
    found = overlaps(a, jnp.array(others, jnp.float32))
    np.testing.assert_allclose(found[0], [1 / 2, 1 / 7, 0, 1, 0], rtol=1e-6)


def test_boxes_of_no_area_overlap_nothing_not_even_themselves():
    flat = jnp.array([[0.0, 0, 0, 0], [3, 3, 3, 9], [5, 5, 2, 2]])
    np.testing.assert_array_equal(boxes.areas(flat), 0.0)
    np.testing.assert_array_equal(overlaps(flat, flat), 0.0)


def test_batches_are_mapped_over():
    rng = np.random.default_rng(1)
    a = drawn_boxes(rng, 24).reshape(2, 3, 4, 4)
    b = drawn_boxes(rng, 30).reshape(2, 3, 5, 4)
    found = overlaps(a, b)
    assert found.shape == (2, 3, 4, 5)
    np.testing.assert_allclose(found[1, 2], all_overlaps(a[1, 2], b[1, 2]), rtol=2e-6)


def test_deltas_by_a_pencil():
    anchor, box = jnp.array([10.0, 20, 30, 60]), jnp.array([20.0, 20, 30, 40])
    expected = [0.25, -0.25, math.log(0.5), math.log(0.5)]
    np.testing.assert_allclose(encode(box, anchor), expected, rtol=1e-6)


def test_decoding_undoes_encoding():
    rng = np.random.default_rng(2)
    box, anchor = drawn_boxes(rng, 500, 900), drawn_boxes(rng, 500, 900)
    # A side of at least 16 of 901 pixels is below the limit of growth.
    anchor[:, 2:] = np.maximum(anchor[:, 2:], anchor[:, :2] + 16)
    np.testing.assert_allclose(decode(encode(box, anchor), anchor), box, atol=2e-3)


def test_encoding_is_blind_to_a_common_shift_and_scale():
    rng = np.random.default_rng(3)
    box, anchor = drawn_boxes(rng, 50), drawn_boxes(rng, 50)
    moved = encode(4 * box + 8, 4 * anchor + 8)
    np.testing.assert_allclose(moved, encode(box, anchor), atol=1e-5)


def test_sides_grow_by_1000_over_16_at_most():
    anchor = jnp.array([0.0, 0.0, 16.0, 16.0])
    found = decode(jnp.array([0.0, 0.0, 500.0, 4.1]), anchor)
    sides = found[2:] - found[:2]
    np.testing.assert_allclose(sides, [1000.0, 16 * math.exp(4.1)], rtol=1e-5)


@pytest.mark.parametrize("function", [boxes.encode, boxes.decode])
def test_rows_that_fill_up_are_0_with_finite_gradients(function):
    zero, some = jnp.zeros((1, 4)), jnp.array([[1.0, 2.0, 5.0, 9.0]])
    for a, b in ((zero, zero), (some, zero), (zero, some)):
        value, gradient = jax.jit(
            jax.value_and_grad(lambda a, b: function(a, b).sum(), argnums=(0, 1))
        )(a, b)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradient)
    np.testing.assert_array_equal(function(zero, zero), 0.0)


def test_gradient_of_overlaps_is_finite_where_boxes_are_empty():
    some = jnp.array([[0.0, 0, 0, 0], [0, 0, 2, 2], [5, 5, 3, 3]])
    gradient = jax.jit(jax.grad(lambda a: boxes.overlaps(a, some).sum()))(some)
    assert np.isfinite(gradient).all()


def test_clipped_boxes_lie_within_and_lose_only_what_was_outside():
    rng = np.random.default_rng(4)
    found = drawn_boxes(rng, 200) - 30
    clipped = jax.jit(boxes.clip)(found, 50.0, 40.0)
    expected = np.stack(
        [np.clip(found[:, i], 0, (40, 50)[i % 2]) for i in range(4)], axis=1
    )
    np.testing.assert_array_equal(clipped, expected)
    shared = [
        np.prod(np.maximum(np.minimum(b[2:], [40, 50]) - np.maximum(b[:2], 0), 0))
        for b in found
    ]
    np.testing.assert_array_equal(boxes.areas(clipped), shared)


def test_each_image_of_a_batch_has_its_own_height():
    box = jnp.tile(jnp.array([-1.0, -1.0, 9.0, 9.0]), (2, 1, 1))
    heights, widths = jnp.array([[4.0], [6.0]]), jnp.array([[5.0], [7.0]])
    found = boxes.clip(box, heights, widths)
    np.testing.assert_array_equal(found[:, 0], [[0, 0, 5, 4], [0, 0, 7, 6]])
