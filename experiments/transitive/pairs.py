"""Which two images show the same: the graph of Figure 2, one step of transitivity.

Nodes are seeds, which are clustered, and the tracked ends of their tracks. The paper
leaves open what counts twice; here pairs have no direction, none is listed twice, and
of several kinds a pair is of the first: inter, intra, transitive.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lars_jax.errors import InputError

INTER, INTRA, TRANSITIVE = range(3)
KINDS = ("inter", "intra", "transitive")
"""Names of the kinds, by their number."""


class Pairs(NamedTuple):
    """Pairs of nodes that are to be close to one another.

    Attributes:
        nodes: int64 [P, 2], the lower number first; ordered by kind, then by nodes.
        kind: uint8 [P], INTER, INTRA or TRANSITIVE.
    """

    nodes: np.ndarray
    kind: np.ndarray


def make_pairs(cliques: np.ndarray, seeds: np.ndarray, end: np.ndarray) -> Pairs:
    r"""Return the pairs of a parent.

    With A' the tracked end of A, for all A, B of a child cluster (section 3.3)

    .. math:: \text{inter } (A, B), \quad \text{intra } (A, A'), \quad
              \text{transitive } (A, B'), (A', B), (A', B')

    and no further: a transitive pair leads to no others. A seed without a track has no
    intra pair and no part in transitive ones.

    Args:
        cliques: int [C, size], the seeds of each child cluster.
        seeds: int [S], the seeds of this parent, in a child cluster or not.
        end: int [N], the node where each seed's track ends, from 0 on, or -1. It may
            be a seed itself, as where tracks are made of photographs.

    Raises:
        InputError: an end below -1, a seed that `end` has no entry for, or a child
            cluster of others.

    Reference:
        Wang, He, Gupta: Transitive Invariance for Self-supervised Visual
        Representation Learning, 2017, section 3.3.

    Four tracks make all 28 pairs of their 8 nodes:

    >>> end = np.arange(4, 8)
    >>> found = make_pairs(np.array([[0, 1, 2, 3]]), np.arange(4), end)
    >>> print(dict(zip(KINDS, np.bincount(found.kind).tolist())))
    {'inter': 6, 'intra': 4, 'transitive': 18}
    """
    _check(cliques, seeds, end)
    own = end[seeds]
    if own.min(initial=0) < -1:
        raise InputError(
            f"the end of a track must be a node from 0 on, or -1; got {own.min()}: "
            "number seeds from 0, and ends after them"
        )
    # Of this parent alone: to look at all ends for each parent would not be linear.
    count = 1 + int(max(seeds.max(initial=-1), own.max(initial=-1)))
    places = np.array(list(combinations(range(cliques.shape[1]), 2)))
    first, second = cliques[:, places[:, 0]], cliques[:, places[:, 1]]
    inter = _keys(first, second, count)
    a, b = np.divmod(inter, count)
    transitive = _keys(
        np.concatenate([a, end[a], end[a]]), np.concatenate([end[b], b, end[b]]), count
    )
    return _first_kinds([inter, _keys(seeds, own, count), transitive], count)


def unite(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of several parents, those that several have only once.

    Only where ends are seeds, or ends of several tracks, can parents share a pair.

    Args:
        parts: pairs of each parent.

    >>> end = np.array([1, 0])
    >>> no_cliques = np.zeros((0, 4), int)
    >>> parts = [make_pairs(no_cliques, np.array([seed]), end) for seed in (0, 1)]
    >>> print(unite(parts).nodes)
    [[0 1]]
    """
    nodes = np.concatenate([part.nodes for part in parts])
    kind = np.concatenate([part.kind for part in parts])
    count = int(nodes.max(initial=0)) + 1
    kinds = [nodes[kind == one] for one in range(len(KINDS))]
    keys = [_keys(some[:, 0], some[:, 1], count) for some in kinds]
    return _first_kinds(keys, count)


def ends_are_shared(end: np.ndarray) -> bool:
    """Return whether a track ends in a seed, or where another does.

    >>> ends_are_shared(np.array([2, -1])), ends_are_shared(np.array([1, -1]))
    (False, True)
    """
    there = end[end >= 0]
    return bool((there < len(end)).any() or len(np.unique(there)) < len(there))


def node_parents(parent: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the parent of each node, int32 [nodes]; an end has that of its seed.

    Args:
        parent: int [S], of each seed, -1 for none.
        end: int [S], the node where its track ends, or -1. A seed where a track ends
            keeps its own parent; of several tracks that end in a node the first counts.

    >>> print(node_parents(np.array([5, 7, -1]), np.array([4, -1, 3])))
    [ 5  7 -1 -1  5]
    """
    found = np.full(max(len(end), int(end.max(initial=-1)) + 1), -1, np.int32)
    tracked = np.flatnonzero(end >= 0)[::-1]  # The last to be written is the first.
    found[end[tracked]] = parent[tracked]
    found[: len(parent)] = parent
    return found


def _keys(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Return each pair of two different nodes once, as one ascending number."""
    first, second = first.ravel().astype(np.int64), second.ravel().astype(np.int64)
    there = (first >= 0) & (second >= 0) & (first != second)
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.unique((low * count + high)[there])


def _first_kinds(keys: Sequence[np.ndarray], count: int) -> Pairs:
    """Return pairs whose kind is the first that has them."""
    every = np.concatenate(keys)
    kind = np.repeat(np.arange(len(keys), dtype=np.uint8), [len(one) for one in keys])
    _, first = np.unique(every, return_index=True)
    first.sort()
    nodes = np.stack(np.divmod(every[first], count), axis=1)
    return Pairs(nodes, kind[first])


def _check(cliques: np.ndarray, seeds: np.ndarray, end: np.ndarray) -> None:
    lowest, highest = seeds.min(initial=0), seeds.max(initial=-1)
    if lowest < 0 or highest >= len(end):
        raise InputError(
            f"seeds must be numbers from 0 to {len(end) - 1}, as ends are given for; "
            f"got {lowest if lowest < 0 else highest}: give each seed an end, or -1"
        )
    other = np.setdiff1d(cliques, seeds)
    if len(other):
        raise InputError(
            f"child clusters must be of seeds of the parent; got node {other[0]}: give "
            "the seeds that neighbours were found among"
        )
