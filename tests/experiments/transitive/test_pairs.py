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
    ends_are_shared,
    make_pairs,
    node_parents,
    unite,
)
from lars_jax.errors import InputError


def by_sets(cliques, seeds, end):
    """Return the pairs of each kind as sets of sets."""
    inter = {
        frozenset(two) for one in cliques for two in combinations(map(int, one), 2)
    }
    intra = {frozenset((int(a), int(end[a]))) for a in seeds if end[a] >= 0}
    transitive = set()
    for a, b in map(tuple, inter):
        others = [(a, end[b]), (end[a], b), (end[a], end[b])]
        transitive |= {frozenset((int(x), int(y))) for x, y in others if min(x, y) >= 0}
    kinds = [
        {two for two in kind if len(two) == 2} for kind in (inter, intra, transitive)
    ]
    return kinds[0], kinds[1] - kinds[0], kinds[2] - kinds[0] - kinds[1]


def as_sets(pairs):
    return tuple(
        {frozenset(two) for two in pairs.nodes[pairs.kind == kind].tolist()}
        for kind in range(3)
    )


def random_graph(seed, *, shared):
    """Return cliques among 40 seeds, and where the tracks of some end."""
    random = np.random.default_rng(seed)
    cliques = find_cliques(find_neighbours(random.normal(size=(40, 3))).index)
    end = random.integers(0, 60, 40) if shared else 40 + random.permutation(40)
    return cliques, np.arange(40), np.where(random.random(40) < 0.3, -1, end)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), shared=st.booleans())
def test_pairs_are_those_built_one_by_one(seed, shared):
    graph = random_graph(seed, shared=shared)
    found = make_pairs(*graph)
    assert as_sets(found) == by_sets(*graph)
    assert found.nodes.dtype == np.int64
    assert found.kind.dtype == np.uint8
    assert (found.nodes[:, 0] < found.nodes[:, 1]).all()
    assert len(np.unique(found.nodes, axis=0)) == len(found.nodes)
    order = np.lexsort((found.nodes[:, 1], found.nodes[:, 0], found.kind))
    np.testing.assert_array_equal(order, np.arange(len(order)))


def test_four_tracks_make_6_inter_4_intra_and_18_transitive_pairs():
    found = make_pairs(np.array([[0, 1, 2, 3]]), np.arange(4), np.array([7, 6, 5, 4]))
    assert np.bincount(found.kind).tolist() == [6, 4, 18]
    # Together these are all pairs of eight nodes.
    assert sorted(map(tuple, found.nodes.tolist())) == list(combinations(range(8), 2))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_there_are_three_transitive_pairs_to_an_inter_pair_at_most(seed):
    cliques, seeds, end = random_graph(seed, shared=True)
    counts = np.bincount(make_pairs(cliques, seeds, end).kind, minlength=3)
    assert counts[TRANSITIVE] <= 3 * counts[INTER]
    distinct = np.arange(40, 80)
    counts = np.bincount(make_pairs(cliques, seeds, distinct).kind, minlength=3)
    assert counts[TRANSITIVE] == 3 * counts[INTER]
    assert counts[INTRA] == 40


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), shared=st.booleans())
def test_another_track_never_removes_a_pair(seed, shared):
    cliques, seeds, end = random_graph(seed, shared=shared)
    before = set.union(*as_sets(make_pairs(cliques, seeds, end)))
    for seed_without in np.flatnonzero(end < 0)[:3]:
        end[seed_without] = 99
        after = set.union(*as_sets(make_pairs(cliques, seeds, end)))
        assert before <= after
        before = after


def test_there_is_one_step_of_transitivity_and_no_longer_chain():
    # 0 and 1 share a cluster, 1 and 2 another: nothing leads from 0 or 3 to 2 or 5.
    found = make_pairs(np.array([[0, 1], [1, 2]]), np.arange(3), np.array([3, 4, 5]))
    inter, intra, transitive = as_sets(found)
    assert inter == {frozenset(two) for two in [(0, 1), (1, 2)]}
    assert intra == {frozenset(two) for two in [(0, 3), (1, 4), (2, 5)]}
    ends = [(0, 4), (3, 1), (3, 4), (1, 5), (4, 2), (4, 5)]
    assert transitive == {frozenset(two) for two in ends}


def test_without_cliques_or_tracks_there_is_nothing():
    found = make_pairs(np.zeros((0, 4), int), np.arange(3), np.full(3, -1))
    assert found.nodes.shape == (0, 2)
    assert len(unite([found, found]).kind) == 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), shared=st.booleans())
def test_parents_one_by_one_make_the_pairs_of_all_at_once(seed, shared):
    cliques, seeds, end = random_graph(seed, shared=shared)
    # Two parents, of even and of odd seeds.
    cliques = cliques[(cliques % 2 == cliques[:, :1] % 2).all(axis=1)]
    whole = make_pairs(cliques, seeds, end)
    parts = [
        make_pairs(cliques[cliques[:, 0] % 2 == one], seeds[seeds % 2 == one], end)
        for one in (0, 1)
    ]
    for one, other in zip(unite(parts), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    if not ends_are_shared(end):
        assert sum(len(part.kind) for part in parts) == len(whole.kind)


def test_an_end_has_the_parent_of_its_seed_unless_it_is_a_seed():
    parent, end = np.array([3, 4, -1, 6]), np.array([4, 0, 5, 4])
    assert node_parents(parent, end).tolist() == [3, 4, -1, 6, 3, -1]


@pytest.mark.parametrize(
    ("cliques", "seeds", "end", "rule"),
    [
        ([[0, 1]], [0, 1], [-2, 1], "a node from 0 on, or -1; got -2"),
        ([[0, 1]], [0, 1, 5], [2, 3], "from 0 to 1, as ends are given for; got 5"),
        ([[0, 1]], [-1, 0, 1], [2, 3], "got -1"),
        ([[0, 1]], [0], [2, 3], "of seeds of the parent; got node 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(cliques, seeds, end, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make_pairs(*map(np.array, (cliques, seeds, end)))
    assert "\n" not in str(caught.value)
