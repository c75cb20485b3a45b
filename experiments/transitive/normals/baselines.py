"""What is reached by predicting one normal for every pixel: less is no learning."""

from collections.abc import Iterable

import numpy as np

from experiments.transitive.normals.codebook import encode
from experiments.transitive.normals.metrics import (
    add_errors,
    angular_error,
    no_errors,
    summary,
)
from lars_jax.errors import InputError


def mean_normal(normals: np.ndarray) -> np.ndarray:
    """Return the direction of the sum of normals, float32 [3].

    Args:
        normals: floating [N, 3], of valid pixels.

    Raises:
        InputError: normals whose sum has no direction.

    >>> print(mean_normal(np.array([[0.6, 0, -0.8], [-0.6, 0, -0.8]])) + 0.0)
    [ 0.  0. -1.]
    """
    total = normals.astype(np.float64).sum(axis=0)
    length = np.linalg.norm(total)
    if not length > 1e-9 * max(len(normals), 1):
        raise InputError(
            f"normals have a mean direction; the sum of {len(normals)} has none: take "
            "more of them"
        )
    return (total / length).astype(np.float32)


def commonest_codeword(normals: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Return the codeword that most normals are nearest to, float32 [3].

    Args:
        normals: floating [N, 3], of valid pixels.
        codebook: float32 [K, 3].

    >>> words = np.float32([[0, 0, -1], [0, -1, 0]])
    >>> commonest_codeword(np.float32([[0, -1, 0], [0, -0.8, -0.6]]), words).tolist()
    [0.0, -1.0, 0.0]
    """
    return codebook[np.bincount(encode(normals, codebook).ravel()).argmax()]


def constant_errors(
    normal: np.ndarray, frames: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Return the five numbers of Table 5 for one normal at every pixel.

    Args:
        normal: float32 [3].
        frames: normals, float32 [H, W, 3], and which are valid, bool [H, W].

    Raises:
        InputError: no valid pixel.

    >>> wall = np.tile(np.float32([0, 0, -1]), (2, 2, 1))
    >>> found = constant_errors(np.float32([0, -1, 0]), [(wall, np.ones((2, 2), bool))])
    >>> found["mean"], found["below_30"]
    (90.0, 0.0)
    """
    errors = no_errors()
    for normals, valid in frames:
        everywhere = np.broadcast_to(normal, normals.shape)
        degrees = np.asarray(angular_error(normals, everywhere))
        errors = add_errors(errors, degrees, valid)
    return summary(errors)
