"""Probes of features against scikit-learn and hand numbers; splits by thing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from experiments.transitive import probes
from experiments.transitive.probes import (
    hold_out,
    linear_accuracy,
    nearest_classes,
    nearest_images,
    neighbour_accuracy,
    views_apart,
)
from lars_jax.errors import InputError


@pytest.fixture
def sample():
    """Return queries, gallery and the labels of both."""
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 100)
    features = random.normal(size=(3, 8))[label] + random.normal(size=(100, 8))
    return features[:40], label[:40], features[40:], label[40:]


def test_nearest_images_are_those_of_scikit_learn(sample, monkeypatch):
    queries, _, gallery, _ = sample
    reference = NearestNeighbors(n_neighbors=7, metric="cosine").fit(gallery)
    expected = reference.kneighbors(queries, return_distance=False)
    np.testing.assert_array_equal(nearest_images(queries, gallery, 7), expected)
    monkeypatch.setattr(probes, "QUERIES", 9)
    np.testing.assert_array_equal(nearest_images(queries, gallery, 7), expected)


def test_accuracy_is_that_of_scikit_learn_with_one_neighbour(sample):
    queries, query_label, gallery, label = sample
    reference = KNeighborsClassifier(1, metric="cosine").fit(gallery, label)
    found = neighbour_accuracy(queries, query_label, gallery, label, count=1)
    assert found == reference.score(queries, query_label)


def test_only_what_is_allowed_is_found(sample):
    queries, _, gallery, _ = sample
    allowed = np.random.default_rng(1).random((40, 60)) < 0.05
    found = nearest_images(queries, gallery, 4, allowed)
    for row, may in zip(found, allowed, strict=True):
        there = row[row >= 0]
        assert may[there].all()
        assert len(set(there)) == len(there) == min(4, may.sum())
    assert nearest_images(queries, gallery[:2], 4).shape == (40, 4)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([7, 8, 8, 9, 7], 7),
        ([9, 8, 8, 7, 8], 8),
        ([6, 7, 8, 9, 5], 6),
        ([5, -1, -1, -1, -1], 5),
        ([-1, -1, -1, -1, -1], -1),
    ],
)
def test_most_votes_win_and_of_as_many_the_nearest(labels, expected):
    nearest = np.where(np.array([labels]) >= 0, np.arange(5), -1)
    assert nearest_classes(nearest, np.array(labels)).item() == expected


def test_scaling_queries_and_gallery_changes_nothing(sample):
    queries, _, gallery, _ = sample
    found = nearest_images(queries * 1e-3, gallery * 1e4, 5)
    np.testing.assert_array_equal(found, nearest_images(queries, gallery, 5))


def test_a_linear_probe_separates_what_a_line_does_at_any_scale(sample):
    queries, query_label, gallery, label = sample
    found = linear_accuracy(gallery, label, queries, query_label)
    assert found > 0.7
    scale = 10.0 ** np.arange(-4, 4)
    scaled = linear_accuracy(gallery * scale, label, queries * scale, query_label)
    assert scaled == pytest.approx(found, abs=0.026)
    shuffled = np.random.default_rng(2).permutation(query_label)
    assert linear_accuracy(gallery, label, queries, shuffled) < 0.6


@settings(deadline=None)
@given(
    seed=st.integers(0, 100),
    share=st.floats(0.01, 0.99),
    things=st.lists(st.integers(2, 12), min_size=1, max_size=5),
)
def test_whole_things_are_held_out_of_each_class(seed, share, things):
    label = np.repeat(np.arange(len(things)), [3 * count for count in things])
    thing = np.concatenate([np.repeat(np.arange(count), 3) for count in things])
    held = hold_out(label, thing, share, seed=seed)
    for one, count in enumerate(things):
        test = set(thing[(label == one) & held])
        train = set(thing[(label == one) & ~held])
        assert not test & train
        assert len(test) == min(max(1, round(share * count)), count - 1)
    np.testing.assert_array_equal(held, hold_out(label, thing, share, seed=seed))


def test_every_thing_is_held_out_as_often():
    label, thing = np.zeros(10, int), np.arange(10)
    held = [hold_out(label, thing, 0.3, seed=seed) for seed in range(1000)]
    counts = np.sum(held, axis=0)
    # chi-square of 9 degrees of freedom, beyond which is one in ten thousand.
    assert ((counts - 300) ** 2 / 300).sum() / 0.7 < 33.7


def test_views_are_apart_the_shorter_way_round():
    found = views_apart(np.array([0, 350]), np.array([0, 90, 180, 271, 350]), 90)
    assert found.astype(int).tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda x: nearest_images(x, x, 0), "must be at least 1"),
        (lambda x: nearest_images(x, x, 1, np.ones((2, 2), bool)), "got 1 and"),
        (
            lambda x: neighbour_accuracy(
                x, np.zeros(3), x, np.zeros(3), allowed=np.zeros((3, 3), bool)
            ),
            "3 of 3 have none",
        ),
        (lambda x: linear_accuracy(x, np.zeros(3), x, np.zeros(3)), "two classes"),
        (
            lambda x: hold_out(np.zeros(3), np.zeros(3), 0.3, seed=0),
            "two things or more",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, rule):
    with pytest.raises(InputError, match=rule) as caught:
        call(np.ones((3, 2)))
    assert "\n" not in str(caught.value)
