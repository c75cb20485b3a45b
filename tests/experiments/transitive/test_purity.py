"""Purity of clusters and pairs against counts by hand and one by one."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive.pairs import Pairs
from experiments.transitive.purity import (
    chance,
    clique_purity,
    false_negatives,
    pair_purity,
    purity,
)

labels = st.lists(st.integers(-1, 3), min_size=1, max_size=30)


@settings(deadline=None)
@given(label=labels)
def test_chance_is_the_share_of_all_pairs(label):
    known = [one for one in label if one >= 0]
    same = [a == b for a, b in combinations(known, 2)]
    found = chance(np.array(label))
    np.testing.assert_allclose(found, np.mean(same) if same else np.nan)


@settings(deadline=None)
@given(label=labels, seed=st.integers(0, 1000))
def test_purity_is_the_share_of_majorities(label, seed):
    label = np.array(label)
    cluster = np.random.default_rng(seed).integers(-1, 4, len(label))
    right = total = 0
    for one in range(4):
        found = label[(cluster == one) & (label >= 0)]
        right += max((found == kind).sum() for kind in range(4))
        total += len(found)
    expected = right / total if total else np.nan
    np.testing.assert_allclose(purity(cluster, label), expected)


def test_purity_is_one_for_clusters_of_a_label_and_the_largest_share_for_one_cluster():
    label = np.array([0, 0, 0, 1, 1, 2])
    assert purity(label, label) == 1.0
    assert purity(np.zeros(6, int), label) == 0.5


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_cliques_are_judged_by_all_their_pairs(seed):
    random = np.random.default_rng(seed)
    cliques, label = random.integers(0, 9, (12, 4)), random.integers(0, 2, 9)
    label[0] = -1
    known = [label[one] for one in cliques if 0 not in one]
    same = [a == b for one in known for a, b in combinations(one, 2)]
    found = clique_purity(cliques, label)
    expected = [np.mean(same), np.mean([len(set(one)) == 1 for one in known])]
    np.testing.assert_allclose(found, expected if known else [np.nan] * 2)


def test_pairs_are_judged_by_kind_and_unknown_labels_do_not_count():
    nodes = np.array([[0, 1], [0, 2], [1, 2], [0, 3], [2, 4]])
    pairs = Pairs(nodes, np.array([0, 0, 0, 1, 2], np.uint8))
    label, thing = np.array([5, 5, 6, 5, -1]), np.array([0, 1, 2, 0, 4])
    found = pair_purity(pairs, label, thing)
    assert found["inter"] == (3, pytest.approx(1 / 3), 1.0)
    assert found["intra"] == (1, 1.0, 0.0)
    assert found["transitive"].count == 0
    assert np.isnan(found["transitive"].same)
    assert np.isnan(pair_purity(pairs, label)["intra"].elsewhere)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000))
def test_false_negatives_are_counted_over_all_anchors_and_negatives(seed):
    random = np.random.default_rng(seed)
    label, legal = random.integers(0, 3, (6, 2)), random.random((6, 6)) < 0.3
    images = [(pair, end) for pair in range(6) for end in range(2)]
    same = [
        label[anchor] == label[negative]
        for anchor, negative in product(images, images)
        if legal[anchor[0], negative[0]]
    ]
    found = false_negatives(label, legal)
    np.testing.assert_allclose(found, np.mean(same) if same else np.nan)


def test_with_parents_of_a_label_each_no_negative_is_false():
    label = np.random.default_rng(0).integers(0, 3, 50)
    both = np.stack([label, label], axis=1)
    assert false_negatives(both, label[:, None] != label) == 0
    assert false_negatives(both, ~np.eye(50, dtype=bool)) > 0
    assert np.isnan(false_negatives(both, np.zeros((50, 50), bool)))
