"""The nearest neighbours of each sample by cosine, those of its own video left out.

Section 3.1 of the paper takes the ten nearest within a parent. It does not say that
neighbours of the same video are left out; without that rule half of what is found is
the same object again.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from experiments.transitive.vectors import import_faiss, unit_rows
from lars_jax.errors import InputError

EXACT_BELOW = 50_000
"""Samples up to which every pair is compared."""

SPARE = 14
"""Candidates beyond those asked for, of which some are of the same video."""

ROUNDING = 4e-6
"""What a product of two unit rows in float32 may be off by."""

EQUALS = 1024
"""Candidates as near as the last neighbour from which the lowest numbers are chosen;
where there are more, some of them are."""

CANDIDATES = 2**21
"""Candidates that are held at a time."""


class Neighbours(NamedTuple):
    """The nearest samples of each sample, the nearest first.

    Attributes:
        index: int32 [N, K], -1 where there are fewer than K.
        cosine: float32 [N, K], -1 where there are fewer.
    """

    index: np.ndarray
    cosine: np.ndarray


def find_neighbours(
    features: np.ndarray,
    count: int = 10,
    group: np.ndarray | None = None,
    *,
    exact_below: int = EXACT_BELOW,
    probes: int = 16,
    compare_by: np.ndarray | None = None,
    seed: int = 0,
) -> Neighbours:
    r"""Return the nearest neighbours of each sample by cosine.

    .. math:: N_K(i) = \text{the } K \text{ samples } j \neq i, g_j \neq g_i
              \text{ of greatest } \cos(x_i, x_j)

    and of equals the one of lower number, as long as they are not thousands. The result
    does not depend on the number of threads. A zero vector has no direction: it has no
    neighbours and is none. Up to `exact_below` samples it is exact; beyond, an inverted
    file of 4 sqrt(N) cells finds candidates in the `probes` cells nearest to each,
    among which it is exact.

    Args:
        features: floating [N, D], in memory or a memory map.
        count: neighbours K of each.
        group: int [N], such as the video of each; samples of the same group are no
            neighbours. None: every other sample may be one.
        exact_below: samples up to which every pair is compared.
        probes: cells that are looked into.
        compare_by: floating [N, E], such as features of which `features` are the
            principal components; candidates are compared by these in the end.
        seed: of the cells.

    Raises:
        InputError: features that are not finite or not [N, D], groups of another
            length, or counts below 1.

    Reference:
        Wang, He, Gupta: Transitive Invariance for Self-supervised Visual
        Representation Learning, 2017, section 3.1.

    >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> print(find_neighbours(features, 1).index.T)
    [[1 0 1]]
    >>> print(find_neighbours(features, 1, np.array([7, 7, 8])).index.T)
    [[2 2 1]]
    """
    rows = unit_rows(features)
    groups = _check(len(rows), count, group, probes)
    compared = rows if compare_by is None else unit_rows(compare_by)
    if len(compared) != len(rows):
        raise InputError(
            f"what samples are compared by must be of all {len(rows)}; got "
            f"{len(compared)}: give a row for each"
        )
    index = np.full((len(rows), count), -1, np.int32)
    cosine = np.full((len(rows), count), -1, np.float32)
    some = np.flatnonzero(rows.any(axis=1) & compared.any(axis=1)).astype(np.int32)
    if len(some) < len(rows):  # Rare enough that the copies do not matter.
        same, rows, compared = compared is rows, rows[some], compared[some]
        compared = rows if same else compared
    search = _Search(rows, compared, groups[some], count)
    search.prepare(exact_below, probes, seed)
    found = search.run()
    index[some] = np.where(found.index < 0, -1, some[found.index] if len(some) else -1)
    cosine[some] = found.cosine
    return Neighbours(index, cosine)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the share of exact neighbours that were found.

    Args:
        found: int [N, K], as `Neighbours.index`.
        exact: int [N, K].

    >>> print(recall(np.array([[3, 9], [1, -1]]), np.array([[9, 4], [1, 2]])))
    0.5
    """
    hits = (exact[:, :, None] == found[:, None, :]).any(axis=2) & (exact >= 0)
    return float(hits.sum() / max(1, (exact >= 0).sum()))


class _Search:
    """Candidates from an index, and from all products where these are too few."""

    def __init__(
        self, rows: np.ndarray, compared: np.ndarray, group: np.ndarray, count: int
    ):
        self.rows, self.compared, self.count = rows, compared, count
        self.group, sizes = np.unique(group, return_inverse=True, return_counts=True)[
            1:
        ]
        permitted = len(rows) - sizes[self.group] if len(rows) else np.zeros(0, int)
        self.wanted = np.minimum(count, permitted)
        self.index: Any = None

    def prepare(self, exact_below: int, probes: int, seed: int) -> None:
        """Build the index, of all rows or in cells, and plan how it is asked."""
        faiss, (size, dimensions) = import_faiss(), self.rows.shape
        self.index, few = faiss.IndexFlatIP(dimensions), self.count + 1 + SPARE
        if self.compared is not self.rows:
            few = max(few, 50)
        # Of a large group all products cost less than a long list of candidates does.
        # Methods of the object itself would keep it, and its rows, in memory.
        self.plan = [
            (_Search._nearest, few),
            (_Search._nearest, 4 * few),
            (_Search._permitted, few),
            (_Search._permitted, max(few, EQUALS)),
        ]
        if size > exact_below:
            cells = min(size, round(4 * size**0.5))
            self.coarse = self.index  # The index of cells does not own it.
            self.index = faiss.IndexIVFFlat(
                self.coarse, dimensions, cells, faiss.METRIC_INNER_PRODUCT
            )
            self.index.cp.seed, self.index.cp.spherical = seed, True
            self.index.cp.min_points_per_centroid = 1
            self.index.train(self.rows)
            self.index.nprobe = min(probes, cells)
            times = range(math.ceil(math.log(max(1, size / few), 4)) + 1)
            self.plan = [(_Search._nearest, few * 4**time) for time in times]
        if size:
            self.index.add(self.rows)

    def run(self) -> Neighbours:
        """Return the neighbours of all rows, ordered."""
        size = len(self.rows)
        index = np.full((size, self.count), -1, np.int32)
        cosine = np.full((size, self.count), -1, np.float32)
        left = np.flatnonzero(self.wanted)
        for find, ask in self.plan:
            held = size if find is _Search._permitted else min(ask, size)
            again, step = [left[:0]], max(1, CANDIDATES // max(1, held))
            for start in range(0, len(left), step):
                some = left[start : start + step]
                enough, found = self._choose(some, *find(self, some, min(ask, size)))
                index[some], cosine[some] = found
                again.append(some[~enough])
            left = np.concatenate(again)
        return Neighbours(index, cosine)

    def _nearest(self, some: np.ndarray, ask: int) -> tuple[np.ndarray, np.ndarray]:
        """Return products and numbers of the nearest rows, permitted or not."""
        product, candidate = self.index.search(self.rows[some], ask)
        # An index in cells says -1 where it has looked at all that it may.
        return np.where(candidate < 0, -2, product), candidate.astype(np.int32)

    def _permitted(self, some: np.ndarray, ask: int) -> tuple[np.ndarray, np.ndarray]:
        """Return products and numbers of the nearest rows of other groups."""
        product = self.rows[some] @ self.rows.T
        product[self.group == self.group[some, None]] = -2
        place = np.argpartition(product, -ask, axis=1)[:, -ask:].astype(np.int32)
        return np.take_along_axis(product, place, axis=1), place

    def _choose(
        self, some: np.ndarray, product: np.ndarray, candidate: np.ndarray
    ) -> tuple[np.ndarray, Neighbours]:
        """Return the best of the candidates, and for which rows these are enough."""
        # Without groups each is its own, so that this leaves the sample itself out.
        free = (product > -1.5) & (self.group[candidate] != self.group[some, None])
        cosine = np.where(free, _products(self.compared, candidate, some), -2)
        # From equals, and from what rounding makes so, the lower number is chosen.
        order = np.lexsort((candidate, -cosine), axis=1)[:, : self.count]
        best = np.take_along_axis(cosine, order, axis=1)
        index = np.take_along_axis(candidate, order, axis=1)
        index[best < -1.5], best[best < -1.5] = -1, -1
        found = Neighbours(_padded(index, self.count), _padded(best, self.count))
        enough, least = free.sum(axis=1) >= self.wanted[some], product.min(axis=1)
        if self.compared is self.rows:
            last = self.wanted[some, None] - 1
            enough &= least < np.take_along_axis(best, last, axis=1)[:, 0] - ROUNDING
        return enough | (least < -1.5), found


def _products(rows: np.ndarray, candidate: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return each row's products with its candidates, float32 [len(some), ask].

    Each is summed in the same order, unlike those of a product of matrices, so that
    equals stay equal and cos(a, b) = cos(b, a).
    """
    found = np.empty(candidate.shape, np.float32)
    step = max(1, 2**22 // (candidate.shape[1] * rows.shape[1] + 1))
    for start in range(0, len(some), step):
        here = slice(start, start + step)
        left, right = rows[some[here]], rows[candidate[here]]
        found[here] = np.einsum("nd,nkd->nk", left, right)
    return found


def _padded(found: np.ndarray, count: int) -> np.ndarray:
    missing = count - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing)), constant_values=-1)


def _check(size: int, count: int, group: np.ndarray | None, probes: int) -> np.ndarray:
    if count < 1 or probes < 1:
        raise InputError(
            f"neighbours and probes must be at least 1; got {count} and {probes}: set "
            "--neighbours and --probes to such values"
        )
    if group is None:
        return np.arange(size)
    if group.shape != (size,):
        raise InputError(
            f"groups must be one for each of {size} samples; got "
            f"{list(group.shape)}: give [{size}]"
        )
    return group
