"""Which two images show the same: the graph of Figure 2, one step of transitivity.

Nodes are seeds, which are clustered, and the tracked ends of their tracks. The paper
leaves open what counts twice; here pairs have no direction and none is listed twice.
"""

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


def make_pairs(cliques: np.ndarray, seeds: np.ndarray, count: int) -> Pairs:
    r"""Return the pairs of a parent.

    With A' the tracked end of A, for all A, B of a child cluster (section 3.3)

    .. math:: \text{inter } (A, B), \quad \text{intra } (A, A'), \quad
              \text{transitive } (A, B'), (A', B), (A', B')

    and no further: a transitive pair leads to no others.

    Args:
        cliques: int [C, size], the seeds of each child cluster.
        seeds: int [S], the seeds of this parent, in a child cluster or not.
        count: N, of the seeds of all parents; the track of seed s ends in node N + s.

    Raises:
        InputError: a seed that is not among the N, or a child cluster of others.

    Reference:
        Wang, He, Gupta: Transitive Invariance for Self-supervised Visual
        Representation Learning, 2017, section 3.3.

    Four tracks make all 28 pairs of their 8 nodes:

    >>> found = make_pairs(np.array([[0, 1, 2, 3]]), np.arange(4), 4)
    >>> print(dict(zip(KINDS, np.bincount(found.kind).tolist())))
    {'inter': 6, 'intra': 4, 'transitive': 18}
    """
    _check(cliques, seeds, count)
    places = np.array(list(combinations(range(cliques.shape[1]), 2)))
    inter = _distinct(cliques[:, places[:, 0]], cliques[:, places[:, 1]], count)
    a, b = inter.T
    kinds = [
        inter,
        _distinct(seeds, seeds + count, count),
        _distinct(
            np.concatenate([a, a + count, a + count]),
            np.concatenate([b + count, b, b + count]),
            count,
        ),
    ]
    numbers = np.arange(len(kinds), dtype=np.uint8)
    return Pairs(np.concatenate(kinds), np.repeat(numbers, [len(one) for one in kinds]))


def _distinct(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Return each pair of two nodes once, int64 [P, 2], in order, the lower first."""
    first, second = first.ravel().astype(np.int64), second.ravel().astype(np.int64)
    low, high = np.minimum(first, second), np.maximum(first, second)
    nodes = 2 * count
    return np.stack(np.divmod(np.unique(low * nodes + high), nodes), axis=1)


def _check(cliques: np.ndarray, seeds: np.ndarray, count: int) -> None:
    lowest, highest = seeds.min(initial=0), seeds.max(initial=-1)
    if lowest < 0 or highest >= count:
        raise InputError(
            f"seeds must be numbers from 0 to {count - 1}, as there are {count}; got "
            f"{lowest if lowest < 0 else highest}: give the number of all seeds"
        )
    other = np.setdiff1d(cliques, seeds)
    if len(other):
        raise InputError(
            f"child clusters must be of seeds of the parent; got node {other[0]}: give "
            "the seeds that neighbours were found among"
        )
