"""Codewords: unit normals that stand for all others, so that a class is predicted.

For NYUv2 the paper has 40 of them, from k-means on the normals of the training
set, after Wang, Fouhey and Gupta (2015), who also join them to triangles. A codebook is
float32 [K, 3], its rows at unit norm.
"""

import numpy as np

from lars_jax.errors import InputError

CODEWORDS = 40
"""In the paper."""

ITERATIONS = 100
"""Rounds of k-means, at most."""

BATCH_ROWS = 65_536
"""Normals that are compared with all codewords at a time."""

LARGEST_CIRCLE = 60
"""Degrees on the sphere: radius of the circle around a triangle's corners, at most.

Of 40 codewords on half a sphere, those of most triangles are of some 15 degrees.
"""


def fit_codebook(
    normals: np.ndarray, count: int = CODEWORDS, *, seed: int
) -> np.ndarray:
    r"""Return codewords by spherical k-means, sorted.

    .. math:: \max_{c, p} \sum_i c_{p(i)} \cdot n_i, \qquad |c_k| = 1

    The first codewords are drawn as in k-means++, by one less the cosine with the
    nearest so far. A codeword that nothing is near moves to the normal that is farthest
    from all. It is our own, in float64 and with sums in one order, because labels of
    whole data sets hang on it: the same seed gives the same codebook.

    Args:
        normals: floating [N, 3], unit rows; a sample of some 100,000 is plenty.
        count: codewords K.
        seed: of the first ones.

    Returns:
        float32 [K, 3], in ascending order of y, which is down: what faces up is first.

    Raises:
        InputError: other rows than unit normals, or fewer than codewords.

    >>> normals = np.array([[0.1, -1, 0], [-0.1, -1, 0], [0, 0, -1], [0, 0.1, -1.0]])
    >>> normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    >>> print(fit_codebook(normals, 2, seed=0).round(3) + 0.0)
    [[ 0.    -1.     0.   ]
     [ 0.     0.05  -0.999]]
    """
    rows = _checked(normals)
    if not 0 < count <= len(np.unique(rows, axis=0)):
        raise InputError(
            "a codebook needs at least as many different normals as codewords, and "
            f"one codeword; got {len(rows)} normals for {count}: take more frames"
        )
    words = _first_words(rows, count, np.random.default_rng(seed))
    before = np.empty(0)
    for _ in range(ITERATIONS):
        nearest, cosine = _nearest(rows, words)
        if np.array_equal(nearest, before):
            break
        before, words = nearest, _moved(rows, nearest, cosine, words)
    words = words.astype(np.float32)
    return words[np.lexsort((words[:, 2], words[:, 0], words[:, 1]))]


def encode(normals: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Return the nearest codeword of each normal, the first of equals.

    Args:
        normals: floating [..., 3], unit vectors; zero vectors get the first codeword.
        codebook: float32 [K, 3].

    Returns:
        int32 [...].

    Raises:
        InputError: other vectors than of 3 values, or a codebook that is none.

    >>> encode(np.array([[0, 0.6, -0.8], [0, -0.8, -0.6]]), -np.eye(3)[1:]).tolist()
    [1, 0]
    """
    check_codebook(codebook)
    normals = np.asarray(normals)
    if normals.shape[-1:] != (3,):
        raise InputError(
            f"normals have 3 values; got {list(normals.shape)}: give them [..., 3]"
        )
    rows = normals.reshape(-1, 3)
    return _nearest(rows, codebook)[0].reshape(normals.shape[:-1])


def triangles(codebook: np.ndarray) -> np.ndarray:
    """Return the triangles that the codewords are joined to, by number.

    They are faces of the convex hull of the codewords, which are the Delaunay triangles
    of points on a sphere: no codeword lies within the circle around the corners of one.
    Normals of what is seen cover little more than half a sphere; faces that close the
    hull behind join its borders over a part of the sphere that has no codewords, so
    that their circles are large. Those with a radius of more than 60 degrees are left
    out, but for the smallest face of a codeword that would have none.

    Args:
        codebook: float32 [K, 3].

    Returns:
        int32 [T, 3], numbers ascending in each row, rows sorted. Each codeword is a
        corner of one at least.

    Raises:
        InputError: fewer than 4 codewords, or all of them on one plane.

    Six codewords along the axes are joined to eight triangles, one for each octant:

    >>> corners = triangles(np.float32([*np.eye(3), *-np.eye(3)]))
    >>> len(corners), corners[0].tolist()
    (8, [0, 1, 2])
    """
    from scipy.spatial import ConvexHull, QhullError

    check_codebook(codebook)
    points = np.asarray(codebook, np.float64)
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as error:
        raise InputError(
            "triangles need 4 codewords that are on no plane; got "
            f"{len(codebook)}: take more codewords"
        ) from error
    # How far a face is from the origin is the cosine of the radius of its circle.
    cosine = -hull.equations[:, 3]
    kept = cosine >= np.cos(np.radians(LARGEST_CIRCLE))
    for word in range(len(points)):
        of_word = (hull.simplices == word).any(axis=1)
        if not (of_word & kept).any():
            kept[np.where(of_word, cosine, -np.inf).argmax()] = True
    found = np.sort(hull.simplices[kept], axis=1).astype(np.int32)
    return found[np.lexsort(found.T[::-1])]


def check_codebook(codebook: np.ndarray) -> None:
    """Refuse what is no codebook.

    Raises:
        InputError: not [K, 3], or rows that are not at unit norm.
    """
    right = np.ndim(codebook) == 2 and codebook.shape[1] == 3 and len(codebook) > 0
    if not right or not _unit(np.asarray(codebook)):
        raise InputError(
            f"a codebook has unit rows of 3 values; got {list(np.shape(codebook))}: "
            "make it by fit_codebook"
        )


def _checked(normals: np.ndarray) -> np.ndarray:
    if normals.ndim != 2 or normals.shape[1] != 3 or not _unit(normals):
        raise InputError(
            "codewords are made of unit normals [N, 3]; got "
            f"{normals.dtype} {list(normals.shape)}: take valid pixels alone"
        )
    return normals.astype(np.float64)


def _unit(rows: np.ndarray) -> bool:
    return bool((np.abs(np.linalg.norm(rows, axis=-1) - 1) < 1e-3).all())


def _first_words(
    rows: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    words = [rows[random.integers(len(rows))]]
    far = 1 - rows @ words[0]
    while len(words) < count:
        far = np.maximum(far, 0)
        # Rounding must not draw a normal again that is a codeword already.
        far[(rows == words[-1]).all(axis=1)] = 0
        if not far.any():
            raise InputError(
                "codewords are of different directions, of which these normals have "
                f"{len(words)}; got {count}: lower --codewords, or take more frames"
            )
        words.append(rows[random.choice(len(rows), p=far / far.sum())])
        far = np.minimum(far, 1 - rows @ words[-1])
    return np.stack(words)


def _nearest(rows: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest codeword of each row, and its cosine."""
    nearest = np.empty(len(rows), np.int32)
    cosine = np.empty(len(rows), np.result_type(rows, words))
    for start in range(0, len(rows), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        cosines = rows[part] @ words.T
        nearest[part] = cosines.argmax(axis=1)
        cosine[part] = cosines.max(axis=1)
    return nearest, cosine


def _moved(
    rows: np.ndarray, nearest: np.ndarray, cosine: np.ndarray, words: np.ndarray
) -> np.ndarray:
    sums = np.stack(
        [np.bincount(nearest, one, minlength=len(words)) for one in rows.T], axis=1
    )
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    moved = np.where(length > 1e-9, sums / np.maximum(length, 1e-9), words)
    empty = np.flatnonzero(np.bincount(nearest, minlength=len(words)) == 0)
    moved[empty] = rows[np.argsort(cosine, kind="stable")[: len(empty)]]
    return moved
