"""Principal components of features, which keep cosines while they save memory."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from experiments.transitive.vectors import check_rows, unit_batches, unit_rows
from lars_jax.errors import InputError


class Components(NamedTuple):
    """Directions that hold most of the products of unit rows.

    Attributes:
        basis: float32 [D, C], orthonormal columns, the strongest first.
        kept: the share of the mean squared norm that they keep, in [0, 1].
    """

    basis: np.ndarray
    kept: float


def fit_components(features: np.ndarray, count: int) -> Components:
    r"""Return the leading directions of the rows at unit norm.

    .. math:: M = \frac{1}{N} \sum_i u_i u_i^T, \quad u_i = x_i / |x_i|,
              \qquad M = V \Lambda V^T

    The mean is not taken away, as in PCA of variances: cosines are what neighbours are
    chosen by, and they change with the origin.

    Args:
        features: floating [N, D]; of a memory map a few rows are held at a time.
        count: directions C.

    Raises:
        InputError: more directions than values or samples.

    >>> features = np.array([[3.0, 0.0], [0.0, 1.0], [0.1, 0.0]])
    >>> found = fit_components(features, 1)
    >>> print(found.basis.T, round(found.kept, 3))
    [[1. 0.]] 0.667
    """
    check_rows(features)
    size, dimensions = features.shape
    if not 1 <= count <= min(size, dimensions):
        raise InputError(
            f"components must be 1 to {min(size, dimensions)}, for {size} samples of "
            f"{dimensions} values; got {count}: set --components to such a number"
        )
    moment = np.zeros((dimensions, dimensions))
    for _, rows in unit_batches(features):
        moment += rows.T @ rows
    last = dimensions - 1
    values, basis = eigh(moment, subset_by_index=[dimensions - count, last])
    values, basis = values[::-1], basis[:, ::-1]
    # A direction and its opposite are the same; the largest value is made positive.
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=0)[None], axis=0)
    kept = float(values.sum() / max(np.trace(moment), np.finfo(float).tiny))
    return Components((basis * np.sign(largest)).astype(np.float32), min(kept, 1.0))


def project(
    features: np.ndarray, components: Components, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the coordinates of unit rows along the components, float16 [N, C].

    Cosines of the result are about those of the features, the closer the larger
    `components.kept`.

    Args:
        features: floating [N, D]; of a memory map a few rows are held at a time.
        components: of features of as many values.
        out: float16 [N, C] that is filled, such as a memory map; None: a new array.

    Raises:
        InputError: features of another length.

    >>> components = Components(np.eye(3, 2, dtype=np.float32), 0.5)
    >>> print(project(np.array([[0.0, -2.0, 0.0]]), components))
    [[ 0. -1.]]
    """
    check_rows(features)
    dimensions, count = components.basis.shape
    if features.shape[1] != dimensions:
        raise InputError(
            f"features must have the {dimensions} values that components were fitted "
            f"to; got {features.shape[1]}: take both from one network"
        )
    found = np.empty((len(features), count), np.float16) if out is None else out
    for place, rows in unit_batches(features):
        found[place] = unit_rows(rows @ components.basis)
    return found
