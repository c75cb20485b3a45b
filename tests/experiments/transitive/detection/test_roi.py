import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.detection import roi
from experiments.transitive.detection.maxima import rectangle_maxima
from lars_jax.errors import InputError

SCALE, SIZE = 1 / 16, 3
HEIGHT, WIDTH = 6, 9

pool = jax.jit(roi.roi_pool, static_argnums=3)
align = jax.jit(roi.roi_align, static_argnums=(3, 4))


@jax.jit
def pool_gradient(features, rois, weights):
    return jax.vjp(lambda f: roi.roi_pool(f, rois, SCALE, SIZE), features)[1](weights)[
        0
    ]


def rounded(x):
    """C's round: halves away from zero."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def caffe_pool(features, rois, weights):
    """Return Fast R-CNN's layer by its loops, and its gradient, both float64.

    Its regions are first and last pixels, which are x1 and x2 - 1 of ours.
    """
    height, width, channels = features.shape
    found = np.zeros((len(rois), SIZE, SIZE, channels))
    gradient = np.zeros(features.shape)
    for r, (x1, y1, x2, y2) in enumerate(np.asarray(rois, np.float64)):
        left, top = rounded(x1 * SCALE), rounded(y1 * SCALE)
        wide = max(rounded((x2 - 1) * SCALE) - left + 1, 1)
        tall = max(rounded((y2 - 1) * SCALE) - top + 1, 1)
        for p, q, c in np.ndindex(SIZE, SIZE, channels):
            rows = math.floor(p * tall / SIZE), math.ceil((p + 1) * tall / SIZE)
            columns = math.floor(q * wide / SIZE), math.ceil((q + 1) * wide / SIZE)
            y_from, y_to = (min(max(i + top, 0), height) for i in rows)
            x_from, x_to = (min(max(i + left, 0), width) for i in columns)
            if y_to <= y_from or x_to <= x_from:
                continue
            best, at = -math.inf, (0, 0)
            for y in range(y_from, y_to):
                for x in range(x_from, x_to):
                    if features[y, x, c] > best:
                        best, at = features[y, x, c], (y, x)
            found[r, p, q, c] = best
            gradient[(*at, c)] += weights[r, p, q, c]
    return found, gradient


def loop_align(features, rois, samples):
    """Return aligned regions by Detectron2's loops, float64."""
    height, width, channels = features.shape

    def at(y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return np.zeros(channels)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = int(y), int(x)
        low, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        upper = (1 - dx) * features[top, left] + dx * features[top, right]
        lower = (1 - dx) * features[low, left] + dx * features[low, right]
        return (1 - dy) * upper + dy * lower

    found = np.zeros((len(rois), SIZE, SIZE, channels))
    for r, box in enumerate(np.asarray(rois, np.float64)):
        x1, y1, x2, y2 = box * SCALE - 0.5
        for p, q, i, j in np.ndindex(SIZE, SIZE, samples, samples):
            y = y1 + (y2 - y1) / SIZE * (p + (i + 0.5) / samples)
            x = x1 + (x2 - x1) / SIZE * (q + (j + 0.5) / samples)
            found[r, p, q] += at(y, x) / samples**2
    return found


def drawn_rois(rng, count=10):
    """Return regions in and out of the map, on halves of positions too, and padding."""
    ends = rng.uniform(-40, 200, (2, count, 2))
    ends[:, : count // 2] = 8 * np.round(ends[:, : count // 2] / 8)
    rois = np.concatenate([ends.min(axis=0), ends.max(axis=0)], axis=1)
    rois[-1], rois[-2] = 0, [0, 0, 16 * WIDTH, 16 * HEIGHT]
    return rois.astype(np.float32)


def drawn_features(rng):
    # Of few values, so that equal maxima are frequent.
    return rng.integers(-3, 4, (HEIGHT, WIDTH, 2)).astype(np.float32)


def test_pooling_and_its_gradient_are_the_loops_of_the_layer():
    rng = np.random.default_rng(0)
    for _ in range(25):
        features, rois = drawn_features(rng), drawn_rois(rng)
        weights = rng.integers(-4, 5, (10, SIZE, SIZE, 2)).astype(np.float32)
        found, gradient = caffe_pool(features, rois, weights)
        np.testing.assert_array_equal(pool(features, rois, SCALE, SIZE), found)
        np.testing.assert_array_equal(pool_gradient(features, rois, weights), gradient)


def test_halves_round_away_from_zero_and_ends_are_inclusive():
    # 8 / 16 is 1, (25 - 1) / 16 is 2: columns 1 and 2; rows 0 and 1.
    features = jnp.arange(54.0).reshape(HEIGHT, WIDTH, 1)
    found = pool(features, jnp.array([[8.0, 0.0, 25.0, 17.0]]), SCALE, 1)
    assert found.ravel() == 9 + 2


@pytest.mark.parametrize("op", ["pool", "align"])
def test_gradients_are_finite_differences(op):
    rng = np.random.default_rng(1)
    # No two are closer than 1, so that a step of 1/4 moves no maximum.
    features = rng.permutation(HEIGHT * WIDTH * 2).astype(np.float32)
    features, rois = features.reshape(HEIGHT, WIDTH, 2), jnp.asarray(drawn_rois(rng))
    weights = rng.integers(-2, 3, (10, SIZE, SIZE, 2)).astype(np.float32)

    @jax.jit
    def loss(features):
        function = roi.roi_pool if op == "pool" else roi.roi_align
        return jnp.sum(weights * function(features, rois, SCALE, SIZE))

    gradient = jax.jit(jax.grad(loss))(features)
    steps = 0.25 * np.eye(features.size, dtype=np.float32)
    steps = steps.reshape(-1, *features.shape)
    ahead, behind = (jax.jit(jax.vmap(loss))(features + s * steps) for s in (1, -1))
    differences = np.asarray(ahead - behind).reshape(features.shape) / 0.5
    np.testing.assert_allclose(gradient, differences, atol=0.02)
    assert np.abs(gradient).max() > 1


def test_regions_have_no_gradient_and_padding_is_finite():
    features, zero = drawn_features(np.random.default_rng(2)), jnp.zeros((2, 4))
    for function in (roi.roi_pool, roi.roi_align):
        value, gradients = jax.jit(
            jax.value_and_grad(
                lambda f, r, of=function: jnp.sum(of(f, r, SCALE, SIZE)), argnums=(0, 1)
            )
        )(features, zero)
        assert np.isfinite(value)
        assert np.isfinite(gradients[0]).all()
        np.testing.assert_array_equal(gradients[1], 0.0)
    # Pooled, a row of zeros is the first position of the map.
    of_first = np.tile(features[0, 0], (2, SIZE, SIZE, 1))
    np.testing.assert_array_equal(pool(features, zero, SCALE, SIZE), of_first)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_alignment_is_the_loops_of_detectron2(samples):
    rng = np.random.default_rng(3)
    for _ in range(8):
        features = rng.normal(size=(HEIGHT, WIDTH, 2)).astype(np.float32)
        rois = drawn_rois(rng)
        found = align(features, rois, SCALE, SIZE, samples)
        expected = loop_align(features, rois, samples)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_aligned_ramp_is_its_value_in_the_centre_of_each_bin():
    ramp = jnp.tile(jnp.arange(float(WIDTH))[None, :, None], (HEIGHT, 1, 2))
    rois = jnp.tile(jnp.array([[24.0, 16.0, 120.0, 80.0]]), (10, 1))
    # Bins of 32 pixels have centres 40, 72 and 104, and position i is at 16 i + 8.
    found = align(ramp, rois, SCALE, SIZE, 2)[0, 1, :, 0]
    np.testing.assert_allclose(found, [2.0, 4.0, 6.0], atol=1e-6)


def test_more_regions_than_are_aligned_at_a_time_are_aligned_alike(monkeypatch):
    rng = np.random.default_rng(4)
    features, rois = drawn_features(rng), drawn_rois(rng)
    whole = align(features, rois, SCALE, SIZE, 2)
    monkeypatch.setattr(roi, "TOGETHER", 4)
    parts = jax.jit(roi.roi_align, static_argnums=(2, 3))(features, rois, SCALE, SIZE)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_images_of_a_batch_are_those_alone():
    rng = np.random.default_rng(5)
    features = np.stack([drawn_features(rng) for _ in range(2)])
    rois = np.stack([drawn_rois(rng) for _ in range(2)])
    for batch, alone in ((roi.pool_batch, pool), (roi.align_batch, align)):
        extra = () if batch is roi.pool_batch else (2,)
        found = jax.jit(batch, static_argnums=(3, 4) if extra else 3)(
            features, rois, SCALE, SIZE, *extra
        )
        for i in range(2):
            one = alone(features[i], rois[i], SCALE, SIZE, *extra)
            np.testing.assert_allclose(found[i], one, atol=1e-6)


def test_order_of_regions_is_kept():
    rng = np.random.default_rng(6)
    features, rois = drawn_features(rng), drawn_rois(rng)
    order = rng.permutation(10)
    np.testing.assert_array_equal(
        pool(features, rois[order], SCALE, SIZE),
        pool(features, rois, SCALE, SIZE)[order],
    )


def test_maxima_of_all_rectangles_of_a_map_are_theirs():
    rng = np.random.default_rng(7)
    features = drawn_features(rng)
    ends = [
        np.array([(a, b) for a in range(n + 1) for b in range(n + 1)]) for n in (6, 9)
    ]
    (top, bottom), (left, right) = (e.T[:, None].astype(np.int32) for e in ends)
    found = jax.jit(rectangle_maxima)(features, top, bottom, left, right)[0]
    expected = np.zeros(found.shape)
    for i, (y0, y1) in enumerate(ends[0]):
        for j, (x0, x1) in enumerate(ends[1]):
            if y0 < y1 and x0 < x1:
                expected[i, j] = features[y0:y1, x0:x1].max(axis=(0, 1))
    np.testing.assert_array_equal(found, expected)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"\[H, W, C\] at \[R, 4\]; got \[4, 4\]"):
        roi.roi_pool(jnp.ones((4, 4)), jnp.ones((2, 4)), SCALE, SIZE)
    with pytest.raises(InputError, match=r"\[B, H, W, C\] at \[B, R, 4\]; got"):
        roi.align_batch(jnp.ones((2, 4, 4, 1)), jnp.ones((3, 2, 4)), SCALE, SIZE)
