"""How much of clusters and pairs is of one kind, where labels are known."""

from typing import NamedTuple

import numpy as np

from experiments.transitive.pairs import KINDS, Pairs


class CliquePurity(NamedTuple):
    """How far child clusters are of one label.

    Attributes:
        pairs: share of pairs within child clusters whose labels are the same.
        whole: share of child clusters all of whose members have the same.
    """

    pairs: float
    whole: float


class PairPurity(NamedTuple):
    """How far pairs of a kind are right.

    Attributes:
        count: pairs whose labels are known.
        same: share of these whose labels are the same.
        elsewhere: share of these that show two things; NaN where things are unknown.
    """

    count: int
    same: float
    elsewhere: float


def chance(label: np.ndarray) -> float:
    """Return the probability that two different samples have the same label.

    Args:
        label: int [N], -1 for unknown.

    >>> print(chance(np.array([0, 0, 1, 1])).__round__(3))
    0.333
    """
    counts = np.bincount(label[label >= 0]).astype(float)
    total = counts.sum()
    return _share((counts * (counts - 1)).sum(), total * (total - 1))


def purity(cluster: np.ndarray, label: np.ndarray) -> float:
    r"""Return the share of samples that have the most frequent label of their cluster.

    .. math:: \frac{1}{N} \sum_k \max_c |\{i : k_i = k, c_i = c\}|

    Args:
        cluster: int [N], -1 for none; such samples do not count.
        label: int [N], -1 for unknown; such samples do not count.

    >>> print(purity(np.array([0, 0, 0, 1, -1]), np.array([5, 5, 2, 2, 2])))
    0.75
    """
    known = (cluster >= 0) & (label >= 0)
    if not known.any():
        return float("nan")
    table = np.zeros((cluster[known].max() + 1, label[known].max() + 1), np.int64)
    np.add.at(table, (cluster[known], label[known]), 1)
    return _share(table.max(axis=1).sum(), known.sum())


def clique_purity(cliques: np.ndarray, label: np.ndarray) -> CliquePurity:
    """Return how far child clusters are of one label.

    Args:
        cliques: int [C, size]; one with an unknown member does not count.
        label: int [N], -1 for unknown.

    >>> print(clique_purity(np.array([[0, 1, 2], [1, 2, 3]]), np.array([7, 7, 7, 8])))
    CliquePurity(pairs=0.666..., whole=0.5)
    """
    found = label[cliques]
    found = found[(found >= 0).all(axis=1)]
    first, second = np.triu_indices(cliques.shape[1], 1)
    same = found[:, first] == found[:, second]
    return CliquePurity(
        _share(same.sum(), same.size), _share(same.all(axis=1).sum(), len(same))
    )


def pair_purity(
    pairs: Pairs, label: np.ndarray, thing: np.ndarray | None = None
) -> dict[str, PairPurity]:
    """Return how far the pairs of each kind are right, by its name.

    Args:
        pairs: of nodes.
        label: int [nodes], such as a category, -1 for unknown.
        thing: int [nodes], which thing of a category it is, another number for each
            thing of all.

    >>> pairs = Pairs(np.array([[0, 1], [0, 2]]), np.array([0, 0]))
    >>> print(pair_purity(pairs, np.array([4, 4, 5]), np.array([0, 0, 1]))["inter"])
    PairPurity(count=2, same=0.5, elsewhere=0.5)
    """
    first, second = label[pairs.nodes].T
    known = (first >= 0) & (second >= 0)
    found = {}
    for number, name in enumerate(KINDS):
        some = known & (pairs.kind == number)
        count = int(some.sum())
        same = _share((first == second)[some].sum(), count)
        elsewhere = float("nan")
        if thing is not None:
            one, other = thing[pairs.nodes[some]].T
            elsewhere = _share((one != other).sum(), count)
        found[name] = PairPurity(count, same, elsewhere)
    return found


def false_negatives(label: np.ndarray, legal: np.ndarray) -> float:
    """Return the share of negatives in a batch that are of their anchor's own label.

    Args:
        label: int [P, 2], of both images of each pair; none unknown.
        legal: bool [P, P], which pairs give negatives to which, as of
            `ranking.legal_negatives`.

    Two pairs of the same label, and a third:

    >>> label = np.array([[0, 0], [0, 0], [1, 1]])
    >>> print(round(false_negatives(label, ~np.eye(3, dtype=bool)), 3))
    0.333
    """
    label, negative = label.ravel(), legal.repeat(2, axis=0).repeat(2, axis=1)
    same = label[:, None] == label
    return _share((negative & same).sum(), negative.sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
