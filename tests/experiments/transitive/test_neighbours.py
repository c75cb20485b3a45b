"""Nearest neighbours against all pairs in double precision, with ties and groups."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive import neighbours
from experiments.transitive.neighbours import find_neighbours, recall
from experiments.transitive.vectors import import_faiss
from lars_jax.errors import InputError


def all_pairs(features, count, group=None):
    """Return the neighbours of each row by comparing all pairs, ties by number."""
    x = np.asarray(features, float)
    norm = np.linalg.norm(x, axis=1)
    group = np.arange(len(x)) if group is None else group
    found = np.full((len(x), count), -1)
    for i in range(len(x)):
        others = [
            j for j in range(len(x)) if group[j] != group[i] and norm[i] * norm[j] > 0
        ]
        # Rounded, as equals must be equal whatever they were summed by.
        near = {j: -round(x[i] @ x[j] / norm[i] / norm[j], 9) for j in others}
        best = sorted(others, key=lambda j: (near[j], j))[:count]
        found[i, : len(best)] = best
    return found


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 40),
    count=st.integers(1, 12),
    groups=st.integers(1, 8) | st.none(),
)
def test_neighbours_are_those_of_all_pairs(seed, size, count, groups):
    random = np.random.default_rng(seed)
    features = random.normal(size=(size, 5))
    # Some are zero, some the same, some the same but for their length.
    features[random.random(size) < 0.2] = 0
    features[random.integers(0, size, size // 3)] = features[0]
    features[random.integers(0, size, size // 4)] *= 2.0
    group = None if groups is None else random.integers(0, groups, size)
    found = find_neighbours(features, count, group)
    np.testing.assert_array_equal(found.index, all_pairs(features, count, group))
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    products = np.einsum("nd,nkd->nk", unit, unit[found.index])
    expected = np.where(found.index < 0, -1, products)
    np.testing.assert_allclose(found.cosine, expected, atol=1e-6)


def test_a_large_group_does_not_hide_the_others():
    random = np.random.default_rng(0)
    # 300 of one video lie together, three of others far away.
    features = np.concatenate(
        [[1.0, 0, 0] + 0.05 * random.normal(size=(300, 3)), np.eye(3)]
    )
    group = np.r_[np.zeros(300, int), 1, 2, 3]
    found = find_neighbours(features, 3, group).index
    assert (np.sort(found[:300], axis=1) == [300, 301, 302]).all()
    np.testing.assert_array_equal(found, all_pairs(features, 3, group))


def test_all_of_one_group_have_no_neighbours():
    found = find_neighbours(np.ones((100, 4)), 5, np.zeros(100, int))
    assert (found.index == -1).all()
    assert (found.cosine == -1).all()


def test_equals_are_ordered_by_their_number_however_many_there_are():
    found = find_neighbours(np.ones((200, 7)), 3).index
    assert found[150].tolist() == [0, 1, 2]
    assert found[1].tolist() == [0, 2, 3]


def test_more_equals_than_are_looked_at_are_neighbours_all_the_same(monkeypatch):
    monkeypatch.setattr(neighbours, "EQUALS", 40)
    found = find_neighbours(np.ones((300, 7)), 3)
    assert (found.index >= 0).all()
    assert (found.index != np.arange(300)[:, None]).all()
    np.testing.assert_allclose(found.cosine, 1, atol=1e-6)


def test_cosines_are_the_same_in_both_directions():
    features = np.random.default_rng(0).normal(size=(60, 37)).astype(np.float32)
    found = find_neighbours(features, 59)
    table = np.zeros((60, 60), np.float32)
    np.put_along_axis(table, found.index, found.cosine, axis=1)
    np.testing.assert_array_equal(table, table.T)


def test_scaling_a_row_changes_nothing():
    random = np.random.default_rng(1)
    features = random.normal(size=(80, 6))
    scaled = features * random.uniform(0.01, 100, (80, 1))
    np.testing.assert_array_equal(
        find_neighbours(features).index, find_neighbours(scaled).index
    )


@pytest.mark.parametrize("exact_below", [10**6, 100])
def test_neither_threads_nor_blocks_change_a_bit(exact_below, monkeypatch):
    faiss = import_faiss()
    features = np.random.default_rng(2).normal(size=(2000, 16)).astype(np.float32)
    features[500:600] = features[:100]
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads, held in ((1, 2**21), (2, 2**10)):
            faiss.omp_set_num_threads(threads)
            monkeypatch.setattr(neighbours, "CANDIDATES", held)
            found.append(find_neighbours(features, exact_below=exact_below))
    finally:
        faiss.omp_set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_inverted_file_with_all_cells_is_exact_and_with_few_nearly():
    random = np.random.default_rng(3)
    centres = random.normal(size=(50, 16))
    features = centres[random.integers(0, 50, 3000)] + 0.5 * random.normal(
        size=(3000, 16)
    )
    group = random.integers(0, 500, 3000)
    exact = find_neighbours(features, group=group).index
    whole = find_neighbours(features, group=group, exact_below=0, probes=10**6).index
    np.testing.assert_array_equal(whole, exact)
    few = [
        recall(
            find_neighbours(features, group=group, exact_below=0, probes=n).index, exact
        )
        for n in (1, 16)
    ]
    assert 0.2 < few[0] < few[1]
    assert few[1] > 0.95


def test_candidates_of_components_are_compared_by_the_whole_features():
    random = np.random.default_rng(4)
    features = random.normal(size=(40, 12)).astype(np.float32)
    # Fewer samples than candidates: what they are found by no longer matters.
    found = find_neighbours(features[:, :2], compare_by=features)
    np.testing.assert_array_equal(found.index, find_neighbours(features).index)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_memory_maps_are_read(dtype, tmp_path):
    features = np.random.default_rng(5).normal(size=(50, 8)).astype(dtype)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        find_neighbours(mapped).index, find_neighbours(features).index
    )


@pytest.mark.parametrize("exact_below", [10**6, 0])
def test_nothing_stays_in_memory_once_neighbours_are_found(exact_below, monkeypatch):
    made = []

    class Watched(neighbours._Search):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(neighbours, "_Search", Watched)
    gc.disable()  # Parents come faster than it looks for what refers to itself.
    try:
        find_neighbours(np.eye(60), exact_below=exact_below)
        assert made[0]() is None
    finally:
        gc.enable()


def test_nothing_has_no_neighbours():
    assert find_neighbours(np.zeros((0, 3)), 2).index.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"features": np.ones(3)}, "features must be floating"),
        ({"features": np.ones((3, 2), int)}, "features must be floating"),
        ({"features": np.array([[1.0, np.nan], [1, 1]])}, "1 of 2 are not"),
        ({"features": np.full((1, 1), 1e300)}, "features must be finite"),
        ({"count": 0}, "neighbours and probes must be at least 1"),
        ({"group": np.zeros(2, int)}, "groups must be one for each of 3"),
        ({"compare_by": np.ones((2, 2))}, "must be of all 3; got 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, rule):
    with pytest.raises(InputError, match=rule) as caught:
        find_neighbours(**{"features": np.ones((3, 2))} | arguments)
    assert "\n" not in str(caught.value)
