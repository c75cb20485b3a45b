"""Parents and components: known clusters, size filter, memory maps, determinism."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive import vectors
from experiments.transitive.components import fit_components, project
from experiments.transitive.parents import (
    PER_CENTROID,
    assign_parents,
    drop_small,
    fit_centroids,
    members,
)
from experiments.transitive.vectors import import_faiss
from lars_jax.errors import InputError

numbers = st.lists(st.integers(-1, 6), max_size=40)


def clusters(seed, count=8, each=50, dimensions=16):
    """Return unit rows around orthogonal directions, and which each is of."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(count), each)
    rows = np.eye(dimensions)[label] + 0.05 * random.normal(
        size=(len(label), dimensions)
    )
    # Lengths must not matter.
    return rows * random.uniform(0.1, 10, (len(label), 1)), label


def test_well_separated_clusters_are_found():
    features, label = clusters(0)
    parent = assign_parents(features, fit_centroids(features, 8, seed=0))
    table = np.zeros((8, 8), int)
    np.add.at(table, (parent, label), 1)
    # k-means may share a cluster between two centroids, but never mixes these.
    assert ((table > 0).sum(axis=1) <= 2).all()
    assert (table.max(axis=1) / table.sum(axis=1).clip(1)).mean() > 0.8


def test_centroids_are_unit_means_of_their_members():
    features, _ = clusters(1)
    centroids = fit_centroids(features, 8, seed=3, iterations=50)
    parent = assign_parents(features, centroids)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([unit[parent == k].mean(axis=0) for k in range(8)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(centroids, means, atol=1e-4)


def test_each_sample_has_the_centroid_of_greatest_cosine():
    random = np.random.default_rng(2)
    features, centroids = random.normal(size=(100, 5)), random.normal(size=(7, 5))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    expected = (features @ centroids.T).argmax(axis=1)
    np.testing.assert_array_equal(assign_parents(features, centroids), expected)


def test_the_same_seed_gives_the_same_bits_with_any_threads_and_storage(
    tmp_path, monkeypatch
):
    features = clusters(3)[0].astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    faiss, found = import_faiss(), []
    before = faiss.omp_get_max_threads()
    try:
        for threads, given, held in ((1, features, 16_384), (2, mapped, 37)):
            faiss.omp_set_num_threads(threads)
            monkeypatch.setattr(vectors, "BATCH_ROWS", held)
            centroids = fit_centroids(given, 8, seed=5)
            found.append((centroids, assign_parents(given, centroids)))
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    other = fit_centroids(features, 8, seed=6)
    assert not np.array_equal(other, found[0][0])


def test_k_means_is_trained_on_at_most_so_many_samples_a_centroid(monkeypatch):
    seen = []

    class Kmeans:
        def __init__(self, dimensions, count, **_):
            self.centroids = np.ones((count, dimensions), np.float32)

        def train(self, rows):
            seen.append(rows)

    monkeypatch.setattr(import_faiss(), "Kmeans", Kmeans)
    angle = np.linspace(0, 1, 2000)
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    fit_centroids(features, 2, seed=0)
    assert len(np.unique(seen[0], axis=0)) == len(seen[0]) == 2 * PER_CENTROID


def test_zero_vectors_have_no_parent_and_duplicates_one():
    features = np.zeros((30, 4))
    features[10:] = [1, 2, 3, 4]
    parent = assign_parents(features, fit_centroids(features, 3, seed=0))
    assert (parent[:10] == -1).all()
    assert len(np.unique(parent[10:])) == 1


@settings(deadline=None)
@given(parent=numbers, least=st.integers(0, 5))
def test_the_size_filter_keeps_order_and_is_idempotent(parent, least):
    parent = np.array(parent, np.int32)
    found = drop_small(parent, least)
    for number in range(-1, 7):
        same = found[parent == number]
        assert len(np.unique(same)) <= 1
        kept = number >= 0 and (parent == number).sum() >= least
        assert (same >= 0).all() if kept else (same == -1).all()
    names = np.unique(found[found >= 0])
    np.testing.assert_array_equal(names, np.arange(len(names)))
    pairs = np.unique(np.stack([parent, found])[:, found >= 0], axis=1)
    assert (np.diff(pairs[1]) == 1).all()
    np.testing.assert_array_equal(drop_small(found, least), found)


@settings(deadline=None)
@given(parent=numbers)
def test_members_are_the_samples_of_each_parent(parent):
    parent = drop_small(np.array(parent, np.int32), 1)
    found = members(parent)
    assert len(found) == parent.max(initial=-1) + 1
    for number, some in enumerate(found):
        np.testing.assert_array_equal(some, np.flatnonzero(parent == number))


def test_components_are_those_of_numpys_singular_values(monkeypatch):
    monkeypatch.setattr(vectors, "BATCH_ROWS", 17)
    features = np.random.default_rng(4).normal(size=(60, 9)) * np.arange(1, 10) + 1
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    _, values, rows = np.linalg.svd(unit, full_matrices=False)
    found = fit_components(features, 4)
    np.testing.assert_allclose(
        np.abs(np.sum(found.basis.T * rows[:4], axis=1)), 1, atol=1e-5
    )
    np.testing.assert_allclose(found.kept, (values[:4] ** 2).sum() / 60, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_all_components_keep_every_cosine(seed):
    features = np.random.default_rng(seed).normal(size=(20, 6))
    found = project(features, fit_components(features, 6)).astype(float)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=3e-3)


def test_zero_features_have_zero_components():
    features = np.r_[np.zeros((1, 3)), np.eye(3)]
    assert not project(features, fit_components(features, 2))[0].any()


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: fit_centroids(np.ones((3, 2)), 4, seed=0), "at least as many samples"),
        (lambda: fit_centroids(np.zeros((9, 2)), 1, seed=0), "got 0 samples"),
        (lambda: fit_centroids(np.ones((3, 2)), 0, seed=0), "and one parent"),
        (lambda: fit_centroids(np.ones(3), 1, seed=0), r"floating \[N, D\]"),
        (lambda: assign_parents(np.ones((3, 2)), np.eye(3)), "the 3 values"),
        (lambda: fit_components(np.ones((3, 5)), 4), "must be 1 to 3"),
        (
            lambda: project(np.ones((2, 3)), fit_components(np.eye(2), 1)),
            "the 2 values",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, rule):
    with pytest.raises(InputError, match=rule) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[video\]'"):
        import_faiss()
