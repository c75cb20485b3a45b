"""Contact sheets of what features and the graph say of crops, to be looked at."""

from collections.abc import Mapping

import numpy as np

from experiments.transitive.probes import nearest_images
from lars_jax.report import image_sheet

QUERIES, NEAREST = 8, 5
"""Rows of a sheet of neighbours, and crops beside each by each kind of features."""

UNITS, STRONGEST = 10, 8
"""Rows of a sheet of units, and crops of each."""

CLUSTERS = 10
"""Rows of a sheet of child clusters."""


def spread(size: int, count: int) -> np.ndarray:
    """Return at most so many numbers below a size, evenly spread, int64.

    >>> print(spread(10, 4), spread(2, 4))
    [0 3 6 9] [0 1]
    """
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(np.int64))


def nearest_sheet(
    images: np.ndarray, video: np.ndarray, features: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return crops with those of other videos that are nearest to them.

    Args:
        images: uint8 [N, S, S, 3].
        video: int [N], which each comes from.
        features: floating [N, D] by what they are called.

    Returns:
        uint8 [height, width, 3]: a query in each row, then the nearest by each kind.
    """
    count = max(1, min(NEAREST, len(images) - 1))
    queries = spread(len(images), QUERIES)
    allowed = video[queries][:, None] != video
    columns, names = [images[queries][:, None]], ["query"]
    for name, rows in features.items():
        nearest = nearest_images(rows[queries], rows, count, allowed)
        shown = images[np.maximum(nearest, 0)]
        shown[nearest < 0] = 255
        columns.append(shown)
        names += [name] * count
    return image_sheet(np.concatenate(columns, axis=1), column_labels=names)


def activation_sheet(images: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return the crops that each of some units answers most to.

    The units are those whose strongest answers stand out most from their mean.

    Args:
        images: uint8 [N, S, S, 3].
        answers: floating [N, units], the strongest of each unit anywhere in a crop.

    Returns:
        uint8 [height, width, 3]: a unit in each row, its strongest crop first.
    """
    count = min(STRONGEST, len(images))
    order = np.argsort(-answers, axis=0, kind="stable")[:count]
    strongest = np.take_along_axis(answers, order, axis=0).mean(axis=0)
    contrast = strongest / (answers.mean(axis=0) + 1e-6)
    units = np.argsort(-contrast, kind="stable")[:UNITS]
    names = [f"unit {unit}" for unit in units]
    return image_sheet(images[order[:, units].T], row_labels=names)


def cluster_sheet(
    images: Mapping[int, np.ndarray], cliques: np.ndarray, parent: np.ndarray
) -> np.ndarray:
    """Return some child clusters, one in each row.

    Args:
        images: uint8 [S, S, 3] by the number of a seed; those of `shown_clusters`.
        cliques: int [C, size], seeds, of `shown_clusters`.
        parent: int [seeds], the parent of each.

    Returns:
        uint8 [height, width, 3].
    """
    rows = np.stack([np.stack([images[int(k)] for k in one]) for one in cliques])
    names = [f"parent {parent[one[0]]}" for one in cliques]
    return image_sheet(rows, row_labels=names)


def shown_clusters(cliques: np.ndarray) -> np.ndarray:
    """Return the child clusters of a sheet, evenly spread over all."""
    return cliques[spread(len(cliques), CLUSTERS)]


def patch_sheet(pairs: np.ndarray, labels: np.ndarray, names: list[str]) -> np.ndarray:
    """Return pairs of patches side by side, those of each label in a row.

    Args:
        pairs: uint8 [B, 2, P, P, 3].
        labels: int [B].
        names: of the labels.

    Returns:
        uint8 [height, width, 3].
    """
    both = np.concatenate([pairs[:, 0], pairs[:, 1]], axis=2)
    rows = []
    for label in range(len(names)):
        own = both[labels == label][:QUERIES]
        blank = np.full((QUERIES - len(own), *both.shape[1:]), 255, np.uint8)
        rows.append(np.concatenate([own, blank]))
    return image_sheet(np.stack(rows), row_labels=names)
