"""Distances and scores against closed forms."""

import numpy as np
import pytest

from experiments.mgan.features import (
    FeatureSums,
    add,
    frechet_distance,
    no_features,
    score,
)
from lars_jax.errors import InputError


def sums_of(features):
    return add(no_features(features.shape[1]), features)


def rotation(dimensions, seed=0):
    normal = np.random.default_rng(seed).normal(size=(dimensions, dimensions))
    return np.linalg.qr(normal)[0]


def correlated(count=200, dimensions=6, seed=0):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(dimensions, dimensions))
    return random.normal(size=(count, dimensions)) @ mixing + 5


def test_sums_hold_mean_and_covariance():
    features = correlated()
    found = sums_of(features)
    assert found.count == 200
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(features.T), rtol=1e-10)


@pytest.mark.parametrize("size", [1, 7, 64, 199])
def test_sums_do_not_depend_on_the_parts(size):
    features = correlated()
    parts = no_features(6)
    for start in range(0, len(features), size):
        parts = add(parts, features[start : start + size])
    whole = sums_of(features)
    assert parts.count == whole.count
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.scatter, whole.scatter, rtol=1e-11)


def test_sums_keep_a_small_deviation_beside_a_large_mean():
    features = 1e8 + np.array([[0.0], [1.0], [2.0], [3.0]])
    found = add(sums_of(features[:1]), features[1:])
    np.testing.assert_allclose(found.scatter, [[5.0]], rtol=1e-6)


def test_sums_are_float64_of_float32_features_and_no_features_change_nothing():
    features = correlated().astype(np.float32)
    found = add(sums_of(features), np.zeros((0, 6), np.float32))
    assert found.mean.dtype == found.scatter.dtype == np.float64
    assert found.count == 200
    assert add(no_features(6), np.zeros((0, 6))).count == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(value):
    features = correlated()
    features[[3, 3, 8], [0, 1, 5]] = value
    with pytest.raises(InputError, match="for 2 of 200 images"):
        sums_of(features)


@pytest.mark.parametrize("shape", [(3, 5), (6,), (3, 6, 1)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"must be \[images, 6\]"):
        add(no_features(6), np.zeros(shape))


def gaussian(mean, covariance):
    """Return the sums of two features, whose scatter is their covariance."""
    return FeatureSums(2, np.asarray(mean, float), np.asarray(covariance, float))


def test_distance_of_gaussians_whose_covariances_commute():
    # In a common basis of eigenvectors it is that of each direction by itself.
    basis = rotation(5)
    sd_a, sd_b = np.array([1.0, 2, 3, 0, 0]), np.array([2.0, 2, 0, 1, 0])
    cov_a, cov_b = ((basis * sd**2) @ basis.T for sd in (sd_a, sd_b))
    a, b = gaussian([1, 0, -2, 0, 3], cov_a), gaussian(np.zeros(5), cov_b)
    expected = 14.0 + np.sum((sd_a - sd_b) ** 2)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-7)


def test_distance_of_gaussians_in_the_plane_by_hand():
    # For 2 x 2: Tr sqrt(A B) = sqrt(Tr AB + 2 sqrt(det AB)). Here AB = [[2, 1], [4, 8]]
    # has trace 10 and determinant 12, and does not commute.
    a, b = gaussian([0, 0], np.diag([1, 4])), gaussian([0, 0], [[2, 1], [1, 2]])
    expected = 9 - 2 * np.sqrt(10 + 2 * np.sqrt(12))
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-12)


def test_distance_is_that_of_the_matrix_root():
    from scipy.linalg import sqrtm

    a, b = sums_of(correlated(seed=1)), sums_of(correlated(seed=2))
    root = np.trace(sqrtm(a.covariance @ b.covariance)).real
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    expected = np.sum((a.mean - b.mean) ** 2) + traces - 2 * root
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-10)
    np.testing.assert_allclose(frechet_distance(b, a), expected, rtol=1e-10)


@pytest.mark.parametrize("count", [200, 20])
def test_distance_of_a_set_to_itself_is_nothing_whatever_its_rank(count):
    features = correlated(count=count, dimensions=60)
    other = sums_of(np.random.default_rng(1).permutation(features))
    spread = np.trace(other.covariance)
    assert 0 <= frechet_distance(sums_of(features), other) < 1e-11 * spread


@pytest.mark.parametrize(
    "other", [no_features(6), sums_of(np.ones((1, 6))), sums_of(np.ones((9, 5)))]
)
def test_distance_of_too_little_is_refused(other):
    with pytest.raises(InputError, match=rf"and {other.count} with"):
        frechet_distance(sums_of(correlated()), other)


def test_distance_of_moments_that_are_not_finite_is_refused():
    broken = FeatureSums(3, np.zeros(6), np.full((6, 6), np.nan))
    with pytest.raises(InputError, match="must be finite"):
        frechet_distance(sums_of(correlated()), broken)


def test_score_of_a_classifier_that_knows_nothing_is_one():
    assert score(np.full((30, 10), 0.1, np.float32), 3) == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize("classes", [2, 10])
def test_score_of_a_sure_classifier_and_balanced_classes_is_their_number(classes):
    sure = np.tile(np.eye(classes, dtype=np.float32), (6, 1))
    assert score(sure, 3) == pytest.approx((classes, 0.0))


def test_score_by_hand():
    # The marginal is 1/2 each, so every image has 0.9 log 1.8 + 0.1 log 0.2.
    found = score(np.array([[0.9, 0.1], [0.1, 0.9]]), 1)
    expected = np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    assert found == pytest.approx((expected, 0.0))


def test_each_split_has_its_own_marginal():
    in_order = np.repeat(np.eye(2), 4, axis=0)
    assert score(in_order, 1) == pytest.approx((2.0, 0.0))
    assert score(in_order, 2) == pytest.approx((1.0, 0.0))


def test_deviation_over_splits_is_that_of_a_population():
    both = np.concatenate([np.eye(3), np.ones((3, 3)) / 3])
    assert score(both, 2) == pytest.approx((2.0, 1.0))


def test_splits_of_unequal_size_take_every_image():
    # Parts of 1, 2 and 2 images.
    rows = np.eye(2)[[0, 0, 1, 0, 1]]
    assert score(rows, 3) == pytest.approx((5 / 3, np.std([1, 2, 2])))


@pytest.mark.parametrize(
    ("rows", "splits", "words"),
    [
        (np.eye(2), 3, "2 images and 3 splits"),
        (np.eye(2), 0, "0 splits"),
        (np.zeros((0, 2)), 1, "0 images"),
        (np.array([[0.5, np.nan]]), 1, "must be finite"),
        (np.ones(3), 1, r"\[images, classes\]"),
    ],
)
def test_other_probabilities_are_refused(rows, splits, words):
    with pytest.raises(InputError, match=words) as caught:
        score(rows, splits)
    assert "\n" not in str(caught.value)
