"""Child clusters: samples each of which is among the neighbours of all others.

Section 3.1 of the paper, with groups of four. It does not say whether groups may
overlap; all of them do, a median of 8 a sample on real features, so that disjoint ones
are a choice.
"""

from typing import Literal

import numpy as np

from experiments.transitive.neighbours import Neighbours
from lars_jax.errors import InputError

COMPARED = 2**22
"""Numbers that are compared at a time, which bounds memory."""


def find_cliques(neighbours: np.ndarray, size: int = 4) -> np.ndarray:
    r"""Return all groups of samples that are mutual neighbours.

    .. math:: a_{ij} = [j \in N(i)] \, [i \in N(j)]

    and a child cluster is a clique of this graph: a_ij = 1 for each two of its members.
    Time is linear in N, at most C(K, size - 1) cliques for each node.

    Args:
        neighbours: int [N, K] as `Neighbours.index`, in any order, -1 for none.
        size: members of a clique, from 2 on.

    Returns:
        int32 [C, size], ascending along each row, the rows in lexicographic order.

    Raises:
        InputError: not int [N, K], a size below 2, or a neighbour that is no node.

    Reference:
        Wang, He, Gupta: Transitive Invariance for Self-supervised Visual
        Representation Learning, 2017, section 3.1.

    1 is a neighbour of 2, but 2 is none of 1:

    >>> neighbours = np.array([[1, 2], [0, 3], [0, 1], [1, -1]])
    >>> print(find_cliques(neighbours, 2).tolist())
    [[0, 1], [0, 2], [1, 3]]
    """
    _check(neighbours, size)
    count, above = len(neighbours), _mutual_above(neighbours)
    found = [np.zeros((0, size), np.int32)]
    step = max(1, COMPARED // (above.shape[1] ** 3 + 1))
    for start in range(0, count, step):
        some = above[start : start + step]
        there = some < count
        # Is the node at place j among those above the node at place i?
        further = above[np.where(there, some, 0)]
        linked = (further[:, :, None, :] == some[:, None, :, None]).any(axis=3)
        linked &= there[:, :, None] & there[:, None, :]
        node = np.arange(len(some))
        clique, may_follow = (node + start)[:, None], there
        # Places ascend by themselves, as only nodes above a node are linked to it.
        for _ in range(size - 1):
            row, place = np.nonzero(may_follow)
            node = node[row]
            clique = np.c_[clique[row], some[node, place]]
            may_follow = may_follow[row] & linked[node, place]
        found.append(clique.astype(np.int32))
    return np.concatenate(found)


def child_clusters(
    neighbours: Neighbours, size: int = 4, overlap: Literal["all", "greedy"] = "all"
) -> np.ndarray:
    """Return the child clusters of a parent, all or disjoint ones.

    Args:
        neighbours: of its samples.
        size: members of a child cluster.
        overlap: `all`; or `greedy`, disjoint ones, those of least mean distance first.

    Returns:
        int32 [C, size], ascending along each row, the rows in lexicographic order.

    Raises:
        InputError: as `find_cliques`.

    >>> index = np.array([[1, 2], [0, 2], [1, 0]])
    >>> cosine = np.array([[0.9, 0.7], [0.9, 0.8], [0.8, 0.7]])
    >>> print(child_clusters(Neighbours(index, cosine), 2).tolist())
    [[0, 1], [0, 2], [1, 2]]
    >>> print(child_clusters(Neighbours(index, cosine), 2, "greedy").tolist())
    [[0, 1]]
    """
    cliques = find_cliques(neighbours.index, size)
    if overlap == "all":
        return cliques
    distance = mean_distances(cliques, neighbours)
    return cliques[choose_disjoint(cliques, distance)]


def mean_distances(cliques: np.ndarray, neighbours: Neighbours) -> np.ndarray:
    """Return the mean of 1 - cos over the pairs of each clique, float64 [C].

    Args:
        cliques: int [C, size], of mutual neighbours.
        neighbours: that they were found among.

    >>> index = np.array([[1, 2], [0, 2], [1, 0]])
    >>> cosine = np.array([[0.9, 0.7], [0.9, 0.8], [0.8, 0.7]])
    >>> print(mean_distances(np.array([[0, 1, 2]]), Neighbours(index, cosine)).round(3))
    [0.2]
    """
    size, total = cliques.shape[1], np.zeros(len(cliques))
    for i in range(size):
        for j in range(i + 1, size):
            first, second = cliques[:, i], cliques[:, j]
            place = (neighbours.index[first] == second[:, None]).argmax(axis=1)
            total += 1.0 - neighbours.cosine[first, place]
    return total / (size * (size - 1) / 2)


def choose_disjoint(cliques: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return which cliques are taken if the closest come first and none overlap.

    Args:
        cliques: int [C, size].
        distance: float [C]; of equals the one that comes first is taken.

    Returns:
        Places in `cliques`, ascending.

    The second shares a node with the closer first, the third only with the second:

    >>> print(choose_disjoint(np.array([[0, 1], [1, 2], [2, 3]]), np.arange(3)))
    [0 2]
    """
    rank = np.empty(len(cliques), np.int64)
    rank[np.argsort(distance, kind="stable")] = np.arange(len(cliques))
    best = np.empty(cliques.max(initial=-1) + 1, np.int64)
    taken, left = [np.zeros(0, np.int64)], np.arange(len(cliques))
    # Whoever is first among all that share a node with it would also be taken one by
    # one; few rounds remain after that.
    while len(left):
        nodes = cliques[left]
        best[nodes] = len(cliques)
        np.minimum.at(best, nodes, rank[left, None])
        first = (best[nodes] == rank[left, None]).all(axis=1)
        taken.append(left[first])
        best[nodes[first]] = -1
        left = left[(best[nodes] >= 0).all(axis=1)]
    return np.sort(np.concatenate(taken))


def _mutual_above(neighbours: np.ndarray) -> np.ndarray:
    """Return the mutual neighbours of higher number, ascending, N where there is none.

    Their lists are cut to the length of the longest, int32 [N, at most K].
    """
    count = len(neighbours)
    above = np.full(neighbours.shape, count, np.int32)
    step = max(1, COMPARED // (neighbours.shape[1] ** 2 + 1))
    for start in range(0, count, step):
        some = neighbours[start : start + step]
        node = np.arange(start, start + len(some))[:, None]
        returned = (neighbours[some] == node[:, :, None]).any(axis=2)
        above[start : start + step] = np.where(returned & (some > node), some, count)
    above.sort(axis=1)
    longest = int((above < count).sum(axis=1).max(initial=0))
    return above[:, :longest]


def _check(neighbours: np.ndarray, size: int) -> None:
    if neighbours.ndim != 2 or not np.issubdtype(neighbours.dtype, np.integer):
        raise InputError(
            f"neighbours must be int [N, K]; got {neighbours.dtype} "
            f"{list(neighbours.shape)}: give the index of find_neighbours"
        )
    if size < 2:
        raise InputError(
            f"a clique must have at least 2 members; got {size}: set --clique higher"
        )
    lowest = neighbours.min(initial=0)
    highest = neighbours.max(initial=-1)
    if lowest < -1 or highest >= len(neighbours):
        raise InputError(
            f"neighbours must be numbers from 0 to {len(neighbours) - 1}, or -1; got "
            f"{lowest if lowest < -1 else highest}: number the samples of a parent "
            "from 0"
        )
