"""What features are good for: nearest neighbours, a linear classifier, retrieval."""

import numpy as np

from experiments.transitive.vectors import unit_rows
from lars_jax.errors import InputError

QUERIES = 1024
"""Queries that are compared with the gallery at a time."""


def nearest_images(
    queries: np.ndarray,
    gallery: np.ndarray,
    count: int,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
    """Return the images of a gallery nearest to each query by cosine.

    Args:
        queries: floating [Q, D].
        gallery: floating [G, D].
        count: images K for each query.
        allowed: bool [Q, G], which images may be found; None: all.

    Returns:
        int64 [Q, K], the nearest first, of equals the first; -1 where there are fewer.

    Raises:
        InputError: another shape, or a count below 1.

    >>> gallery = np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 0.0]])
    >>> print(nearest_images(np.array([[9.0, 0.0]]), gallery, 2))
    [[2 1]]
    >>> print(nearest_images(gallery, gallery, 1, ~np.eye(3, dtype=bool)).T)
    [[1 2 1]]
    """
    shape = (len(queries), len(gallery))
    if count < 1 or (allowed is not None and allowed.shape != shape):
        came = "all" if allowed is None else list(allowed.shape)
        raise InputError(
            f"nearest images must be at least 1, of those allowed for each of {shape}; "
            f"got {count} and {came}: correct them"
        )
    known, found = unit_rows(gallery), np.full((shape[0], count), -1)
    for start in range(0, shape[0], QUERIES):
        some = slice(start, start + QUERIES)
        distance = -(unit_rows(queries[some]) @ known.T)
        if allowed is not None:
            distance[~allowed[some]] = np.inf
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
        there = np.take_along_axis(distance, nearest, axis=1) < np.inf
        found[some, : nearest.shape[1]] = np.where(there, nearest, -1)
    return found


def nearest_classes(nearest: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the label that most of the nearest images have, int64 [Q].

    Of labels that as many have, the one whose image is the nearest wins.

    Args:
        nearest: int [Q, K], from `nearest_images`.
        label: int [G], of the gallery, from 0 on.

    Returns:
        -1 where nothing was found.

    >>> print(nearest_classes(np.array([[0, 1, 2], [2, 1, -1]]), np.array([3, 5, 5])))
    [5 5]
    """
    found = np.where(nearest >= 0, label[nearest], -1)
    # Votes of the label at each place; the first of the greatest is the nearest.
    votes = (found[:, :, None] == found[:, None, :]).sum(axis=2)
    best = np.where(found >= 0, votes, 0).argmax(axis=1)
    return np.take_along_axis(found, best[:, None], axis=1)[:, 0]


def neighbour_accuracy(
    queries: np.ndarray,
    query_label: np.ndarray,
    gallery: np.ndarray,
    gallery_label: np.ndarray,
    *,
    count: int = 5,
    allowed: np.ndarray | None = None,
) -> float:
    """Return the share of queries that their nearest images classify rightly.

    Args:
        queries: floating [Q, D].
        query_label: int [Q].
        gallery: floating [G, D].
        gallery_label: int [G].
        count: images K that vote.
        allowed: bool [Q, G], which images may vote; None: all.

    Raises:
        InputError: as `nearest_images`; or a query for which nothing is allowed.

    >>> gallery, label = np.eye(3), np.array([0, 1, 1])
    >>> print(neighbour_accuracy(gallery[:2] + 0.1, [0, 0], gallery, label, count=1))
    0.5
    """
    nearest = nearest_images(queries, gallery, count, allowed)
    if (nearest[:, 0] < 0).any():
        raise InputError(
            "each query must have an image that may vote; "
            f"{int((nearest[:, 0] < 0).sum())} of {len(nearest)} have none: allow "
            "nearer views, or enlarge the gallery"
        )
    return float(np.mean(nearest_classes(nearest, gallery_label) == query_label))


def linear_accuracy(
    train: np.ndarray,
    train_label: np.ndarray,
    test: np.ndarray,
    test_label: np.ndarray,
    *,
    strength: float = 1.0,
    iterations: int = 1000,
) -> float:
    """Return what logistic regression on standardised features gets right.

    Args:
        train: floating [N, D].
        train_label: int [N], of two classes or more.
        test: floating [M, D].
        test_label: int [M].
        strength: C, the inverse of the penalty of squares.
        iterations: of L-BFGS, at most.

    Raises:
        InputError: fewer than two classes to learn.

    >>> train = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> print(linear_accuracy(train, [0, 0, 1, 1], np.array([[2.0], [9.0]]), [0, 0]))
    0.5
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train_label)) < 2:
        raise InputError(
            "a linear probe needs images of two classes or more; got "
            f"{len(np.unique(train_label))}: add images, or hold out fewer"
        )
    classify = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=iterations)
    )
    classify.fit(np.asarray(train, np.float32), train_label)
    return float(classify.score(np.asarray(test, np.float32), test_label))


def hold_out(
    label: np.ndarray, thing: np.ndarray, share: float, *, seed: int
) -> np.ndarray:
    """Return which images are tested on: whole things, as many of each class.

    Args:
        label: int [N], the class of each image.
        thing: int [N], which thing of its class it shows; where no two images show the
            same, any numbers without repetition.
        share: of the things of each class, in (0, 1); at least one is held out and one
            is not.
        seed: of the choice.

    Returns:
        bool [N].

    Raises:
        InputError: a class of a single thing.

    >>> label, thing = np.repeat([0, 1], 6), np.tile([0, 0, 1, 1, 2, 2], 2)
    >>> print(hold_out(label, thing, 0.3, seed=0).astype(int))
    [0 0 0 0 1 1 0 0 1 1 0 0]
    """
    random, held = np.random.default_rng([seed, _PURPOSE]), np.zeros(len(label), bool)
    for one in np.unique(label):
        things = np.unique(thing[label == one])
        if len(things) < 2:
            raise InputError(
                f"a class must have two things or more, as one is held out; class "
                f"{one} has {len(things)}: add to it, or leave it out"
            )
        count = min(max(1, round(share * len(things))), len(things) - 1)
        some = random.choice(things, count, replace=False)
        held |= (label == one) & np.isin(thing, some)
    return held


def views_apart(queries: np.ndarray, gallery: np.ndarray, least: float) -> np.ndarray:
    """Return which views are at least so far apart around the object, bool [Q, G].

    Args:
        queries: azimuths in degrees [Q].
        gallery: azimuths in degrees [G].
        least: degrees, from 0 to 180.

    >>> print(views_apart(np.array([350]), np.array([10, 80, 170]), 90))
    [[False  True  True]]
    """
    turn = np.abs(queries[:, None] - gallery) % 360
    return np.minimum(turn, 360 - turn) >= least


_PURPOSE = 0x0B7EC7
"""What the draws are for, so that those of other stages are others."""
