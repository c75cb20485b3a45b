"""Pairs against sets that are built one by one, and the counts of the paper's graph."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive.cliques import find_cliques
from experiments.transitive.neighbours import find_neighbours
from experiments.transitive.pairs import (
    INTER,
    INTRA,
    TRANSITIVE,
    make_pairs,
)
from lars_jax.errors import InputError


def by_sets(cliques, seeds, count):
    """Return the pairs of each kind as sets of sets."""
    end = {int(seed): int(seed) + count for seed in seeds}
    inter = {
        frozenset(two) for one in cliques for two in combinations(map(int, one), 2)
    }
    intra = {frozenset(track) for track in end.items()}
    transitive = set()
    for a, b in map(tuple, inter):
        others = [(a, end[b]), (end[a], b), (end[a], end[b])]
        transitive |= set(map(frozenset, others))
    return inter, intra, transitive


def as_sets(pairs):
    return tuple(
        {frozenset(two) for two in pairs.nodes[pairs.kind == kind].tolist()}
        for kind in range(3)
    )


def random_graph(seed):
    """Return cliques among 40 seeds of one parent, of 50 in all."""
    random = np.random.default_rng(seed)
    seeds = np.sort(random.permutation(50)[:40])
    found = find_cliques(find_neighbours(random.normal(size=(40, 3))).index)
    return seeds[found], seeds, 50


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_pairs_are_those_built_one_by_one(seed):
    graph = random_graph(seed)
    found = make_pairs(*graph)
    assert as_sets(found) == by_sets(*graph)
    assert found.nodes.dtype == np.int64
    assert found.kind.dtype == np.uint8
    assert (found.nodes[:, 0] < found.nodes[:, 1]).all()
    assert len(np.unique(found.nodes, axis=0)) == len(found.nodes)
    order = np.lexsort((found.nodes[:, 1], found.nodes[:, 0], found.kind))
    np.testing.assert_array_equal(order, np.arange(len(order)))


def test_four_tracks_make_6_inter_4_intra_and_18_transitive_pairs():
    found = make_pairs(np.array([[0, 1, 2, 3]]), np.arange(4), 4)
    assert np.bincount(found.kind).tolist() == [6, 4, 18]
    # Together these are all pairs of eight nodes.
    assert sorted(map(tuple, found.nodes.tolist())) == list(combinations(range(8), 2))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_there_are_three_transitive_pairs_to_an_inter_pair(seed):
    counts = np.bincount(make_pairs(*random_graph(seed)).kind, minlength=3)
    assert counts[TRANSITIVE] == 3 * counts[INTER]
    assert counts[INTRA] == 40


def test_there_is_one_step_of_transitivity_and_no_longer_chain():
    # 0 and 1 share a cluster, 1 and 2 another: nothing leads from 0 or 3 to 2 or 5.
    found = make_pairs(np.array([[0, 1], [1, 2]]), np.arange(3), 3)
    inter, intra, transitive = as_sets(found)
    assert inter == {frozenset(two) for two in [(0, 1), (1, 2)]}
    assert intra == {frozenset(two) for two in [(0, 3), (1, 4), (2, 5)]}
    ends = [(0, 4), (3, 1), (3, 4), (1, 5), (4, 2), (4, 5)]
    assert transitive == {frozenset(two) for two in ends}


def test_without_cliques_there_are_tracks_alone():
    found = make_pairs(np.zeros((0, 4), int), np.arange(3), 3)
    assert found.nodes.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found.kind.tolist() == [INTRA] * 3
    assert make_pairs(np.zeros((0, 4), int), np.arange(0), 3).nodes.shape == (0, 2)


@pytest.mark.parametrize(
    ("cliques", "seeds", "rule"),
    [
        ([[0, 1]], [0, 1, 5], "from 0 to 1, as there are 2; got 5"),
        ([[0, 1]], [-1, 0, 1], "got -1"),
        ([[0, 1]], [0], "of seeds of the parent; got node 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(cliques, seeds, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make_pairs(np.array(cliques), np.array(seeds), 2)
    assert "\n" not in str(caught.value)
