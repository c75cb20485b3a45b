"""Rows that are compared by their cosine, and the library that does so."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lars_jax.errors import InputError

BATCH_ROWS = 16_384
"""Rows of a memory map that are held at a time."""


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return x / |x| for each row x, and zero where x is zero.

    Args:
        rows: floating [N, D], in memory or a memory map; it is left as it is.

    Returns:
        float32 [N, D], contiguous.

    Raises:
        InputError: not a floating [N, D], or a value that is not finite.

    >>> print(unit_rows(np.array([[3e30, 4e30], [0.0, 0.0]])).round(3))
    [[0.6 0.8]
     [0.  0. ]]
    """
    check_rows(rows)
    with np.errstate(over="ignore"):  # What float32 cannot hold is refused below.
        found = np.array(rows, np.float32, order="C")
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).any(axis=1).sum())
        raise InputError(
            f"features must be finite; {bad} of {len(rows)} are not: look at their "
            "images and at the weights of the network"
        )
    # Squares of large float32 numbers overflow, those of small ones vanish.
    found /= _where_positive(np.abs(found).max(axis=1, initial=0, keepdims=True))
    found /= _where_positive(np.linalg.norm(found, axis=1, keepdims=True))
    return found


def check_rows(rows: np.ndarray) -> None:
    """Refuse what is no table of features.

    Raises:
        InputError: not a floating [N, D].
    """
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
        raise InputError(
            f"features must be floating [N, D]; got {rows.dtype} {list(rows.shape)}: "
            "flatten each to a row of float16 or float32"
        )


def unit_batches(rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the places of a few rows at a time, and these rows at unit norm.

    Args:
        rows: floating [N, D], a memory map of any length.

    >>> [(place, len(unit)) for place, unit in unit_batches(np.ones((3, 2)))]
    [(slice(0, 3, None), 3)]
    """
    for start in range(0, len(rows), BATCH_ROWS):
        place = slice(start, min(start + BATCH_ROWS, len(rows)))
        yield place, unit_rows(rows[place])


def import_faiss() -> Any:
    """Return the library faiss.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            "clusters and neighbours need the library faiss; it is not installed: "
            "pip install -e '.[video]'"
        ) from error
    return faiss


def _where_positive(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1)
