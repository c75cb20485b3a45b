"""Parents: clusters of all samples by spherical k-means, the small ones dropped.

Section 3.1 of the paper: K = 5000, of which those with fewer than 100 members go. The
paper does not name the metric; rows of unit norm are clustered, as neighbours are by
cosine.
"""

import numpy as np

from experiments.transitive.vectors import (
    check_rows,
    import_faiss,
    unit_batches,
    unit_rows,
)
from lars_jax.errors import InputError

PER_CENTROID = 256
"""Samples of a centroid that k-means is trained on, at most."""

ITERATIONS = 25
"""Rounds of k-means."""


def fit_centroids(
    features: np.ndarray, count: int, *, seed: int, iterations: int = ITERATIONS
) -> np.ndarray:
    r"""Return centroids of spherical k-means, unit rows, float32 [K, D].

    .. math:: \max_{c, p} \sum_i \cos(x_i, c_{p(i)}), \qquad |c_k| = 1

    It is trained on at most 256 samples a centroid, drawn without replacement; zero
    vectors, which have no direction, are none of them.

    Args:
        features: floating [N, D], in memory or a memory map.
        count: centroids K.
        seed: of the samples and of the first centroids.
        iterations: rounds of assigning samples and moving centroids.

    Raises:
        InputError: fewer samples than centroids.

    >>> features = np.array([[1.0, 0.1], [1.0, -0.1], [0.0, 5.0]])
    >>> print(np.abs(np.sort(fit_centroids(features, 2, seed=0), axis=0)).round(3))
    [[0. 0.]
     [1. 1.]]
    """
    check_rows(features)
    random = np.random.default_rng([seed, _PURPOSE])
    size = len(features)
    some = random.choice(size, min(size, PER_CENTROID * count), replace=False)
    rows = unit_rows(features[np.sort(some)])  # Sorted, a memory map is read in order.
    rows = rows[rows.any(axis=1)]
    if count < 1 or len(rows) < count:
        raise InputError(
            f"k-means needs at least as many samples as its {count} parents, and one "
            f"parent; got {len(rows)} samples that are not zero: set --parents lower, "
            "or mine more video"
        )
    means = import_faiss().Kmeans(
        rows.shape[1],
        count,
        niter=iterations,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=PER_CENTROID,
    )
    means.train(rows)
    return unit_rows(means.centroids)


def assign_parents(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the centroid nearest to each sample by cosine, int32 [N].

    A zero vector is nearest to none: -1.

    Args:
        features: floating [N, D]; of a memory map a few rows are held at a time.
        centroids: float32 [K, D], of unit rows.

    Raises:
        InputError: features of another length than the centroids.

    >>> print(assign_parents(np.array([[2.0, 1.0], [0.0, 0.0]]), np.eye(2)))
    [ 0 -1]
    """
    check_rows(features)
    if features.shape[1] != centroids.shape[1]:
        raise InputError(
            f"features must have the {centroids.shape[1]} values of a centroid; got "
            f"{features.shape[1]}: take both from one network"
        )
    index = import_faiss().IndexFlatIP(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, np.float32))
    parent = np.empty(len(features), np.int32)
    for place, rows in unit_batches(features):
        nearest = index.search(rows, 1)[1][:, 0]
        parent[place] = np.where(rows.any(axis=1), nearest, -1)
    return parent


def drop_small(parent: np.ndarray, least: int) -> np.ndarray:
    """Return the parents with enough members, numbered from 0, int32 [N].

    Args:
        parent: int [N], -1 for none.
        least: members that a parent needs.

    Returns:
        The same parents in the same order without gaps; -1 where there is none.

    >>> print(drop_small(np.array([5, 2, 5, -1, 7, 7]), 2))
    [ 0 -1  0 -1  1  1]
    """
    kept = parent >= 0
    names, place, members = np.unique(
        parent[kept], return_inverse=True, return_counts=True
    )
    large = members >= least
    number = np.where(large, np.cumsum(large) - 1, -1) if len(names) else members
    found = np.full(len(parent), -1, np.int32)
    found[kept] = number[place]
    return found


def members(parent: np.ndarray) -> list[np.ndarray]:
    """Return the samples of each parent in ascending order, int64 arrays.

    Args:
        parent: int [N], numbered from 0 on; -1 for none.

    >>> members(np.array([1, 0, -1, 1]))
    [array([1]), array([0, 3])]
    """
    order = np.argsort(parent, kind="stable")
    order = order[np.searchsorted(parent[order], 0) :]
    ends = np.cumsum(np.bincount(parent[order]))
    return np.split(order, ends[:-1]) if len(order) else []


_PURPOSE = 0x9A7E
"""What the draws are for, so that those of other stages are others."""
