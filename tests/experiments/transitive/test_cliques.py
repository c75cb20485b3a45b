"""Cliques against all subsets of nodes, disjoint ones against one choice at a time."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive import cliques as module
from experiments.transitive.cliques import (
    child_clusters,
    choose_disjoint,
    find_cliques,
    mean_distances,
)
from experiments.transitive.neighbours import Neighbours, find_neighbours
from lars_jax.errors import InputError


def all_subsets(neighbours, size):
    """Return the cliques among all subsets of nodes."""
    lists = [set(row.tolist()) for row in neighbours]
    mutual = {
        (i, j)
        for i, j in combinations(range(len(lists)), 2)
        if j in lists[i] and i in lists[j]
    }
    return [
        list(some)
        for some in combinations(range(len(lists)), size)
        if all(pair in mutual for pair in combinations(some, 2))
    ]


def one_by_one(cliques, distance):
    """Return disjoint cliques, the closest first, by trying each in turn."""
    taken, used = [], set()
    for place in sorted(range(len(cliques)), key=lambda c: (distance[c], c)):
        if not used & set(cliques[place].tolist()):
            taken.append(place)
            used |= set(cliques[place].tolist())
    return sorted(taken)


def random_lists(random, size, count):
    """Return neighbours at random, with some missing, that favour few nodes."""
    found = np.full((size, count), -1)
    for i in range(size):
        others = np.delete(np.arange(size), i)[: 2 * count]
        some = random.permutation(others)[: random.integers(0, count + 1)]
        found[i, : len(some)] = some
    return found


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), size=st.integers(0, 24), clique=st.integers(2, 5))
def test_cliques_are_those_among_all_subsets(seed, size, clique):
    random = np.random.default_rng(seed)
    neighbours = random_lists(random, size, int(random.integers(1, 11)))
    found = find_cliques(neighbours, clique)
    assert found.dtype == np.int32
    assert found.tolist() == all_subsets(neighbours, clique)


@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 10**6))
def test_cliques_of_sixty_neighbours_of_features_are_those_among_all_subsets(seed):
    random = np.random.default_rng(seed)
    features = random.normal(size=(5, 4))[random.integers(0, 5, 60)]
    features += 0.3 * random.normal(size=features.shape)
    neighbours = find_neighbours(features).index
    found = find_cliques(neighbours)
    assert len(found)
    assert found.tolist() == all_subsets(neighbours, 4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_other_numbers_of_the_nodes_give_the_same_cliques(seed):
    random = np.random.default_rng(seed)
    neighbours = find_neighbours(random.normal(size=(50, 3))).index
    number = random.permutation(50)
    renamed = np.empty_like(neighbours)
    renamed[number] = number[neighbours]
    found = np.sort(number[find_cliques(neighbours)], axis=1)
    expected = found[np.lexsort(found.T[::-1])]
    np.testing.assert_array_equal(find_cliques(renamed), expected)


@pytest.mark.parametrize("size", [4, 5, 9, 20])
def test_if_all_are_neighbours_every_four_are_a_clique(size):
    neighbours = find_neighbours(np.random.default_rng(0).normal(size=(size, 3)), 25)
    assert len(find_cliques(neighbours.index)) == comb(size, 4)


@pytest.mark.parametrize("size", range(4))
def test_fewer_than_four_have_no_clique(size):
    neighbours = find_neighbours(np.ones((size, 2)))
    assert child_clusters(neighbours, overlap="greedy").shape == (0, 4)


def test_blocks_of_nodes_change_nothing(monkeypatch):
    random = np.random.default_rng(1)
    neighbours = find_neighbours(random.normal(size=(300, 3)))
    expected = child_clusters(neighbours)
    monkeypatch.setattr(module, "COMPARED", 2000)
    np.testing.assert_array_equal(child_clusters(neighbours), expected)
    assert len(expected) > 300


def test_duplicates_and_zero_vectors_are_safe():
    features = np.ones((30, 4))
    features[20:] = 0
    # Of 20 equals the first 11 are the neighbours of all.
    found = find_cliques(find_neighbours(features).index)
    assert len(found) == comb(11, 4)
    assert found.max() == 10


def test_distances_are_the_means_of_all_pairs():
    random = np.random.default_rng(2)
    features = random.normal(size=(40, 3))
    neighbours = find_neighbours(features)
    found = find_cliques(neighbours.index)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [
        np.mean([1 - unit[i] @ unit[j] for i, j in combinations(some, 2)])
        for some in found
    ]
    np.testing.assert_allclose(mean_distances(found, neighbours), expected, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 80), nodes=st.integers(4, 60))
def test_disjoint_cliques_are_those_of_one_choice_at_a_time(seed, count, nodes):
    random = np.random.default_rng(seed)
    cliques = np.array(
        [random.choice(nodes, 4, replace=False) for _ in range(count)], int
    ).reshape(count, 4)
    distance = random.integers(0, 10, count) / 10
    found = choose_disjoint(cliques, distance)
    assert found.tolist() == one_by_one(cliques, distance)


def test_greedy_clusters_are_disjoint_and_among_all():
    random = np.random.default_rng(3)
    neighbours = find_neighbours(random.normal(size=(300, 4)))
    every = {tuple(row) for row in child_clusters(neighbours).tolist()}
    some = child_clusters(neighbours, overlap="greedy")
    assert len(np.unique(some)) == some.size > 0
    assert {tuple(row) for row in some.tolist()} <= every
    assert some.tolist() == sorted(some.tolist())


@pytest.mark.parametrize(
    ("neighbours", "size", "rule"),
    [
        (np.zeros(3, int), 4, r"must be int \[N, K\]"),
        (np.zeros((3, 2)), 4, r"must be int \[N, K\]"),
        (np.zeros((3, 2), int), 1, "at least 2 members"),
        (np.full((3, 2), 3), 4, "from 0 to 2, or -1; got 3"),
        (np.full((3, 2), -2), 4, "got -2"),
    ],
)
def test_bad_input_is_refused_in_one_line(neighbours, size, rule):
    with pytest.raises(InputError, match=rule) as caught:
        find_cliques(neighbours, size)
    assert "\n" not in str(caught.value)


def test_neighbours_may_come_with_cosines_alone():
    index = np.array([[1], [0]])
    found = child_clusters(Neighbours(index, np.ones((2, 1))), 2)
    assert found.tolist() == [[0, 1]]
