"""How far sets of images are apart, from statistics of their features alone."""

from typing import NamedTuple

import numpy as np

from lars_jax.errors import InputError

SPLITS = 10
"""Parts of the samples whose scores are averaged (Salimans et al. 2016)."""


class FeatureSums(NamedTuple):
    """What is kept of a set of features x_1 ... x_n.

    Attributes:
        count: n.
        mean: float64 [D], m = (1 / n) sum x_i.
        scatter: float64 [D, D], sum (x_i - m) (x_i - m)^T.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, scatter / (n - 1), float64 [D, D]."""
        return self.scatter / (self.count - 1)


def no_features(dimensions: int) -> FeatureSums:
    """Return the sums of no features at all.

    >>> no_features(2).mean
    array([0., 0.])
    """
    return FeatureSums(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))


def add(sums: FeatureSums, features: np.ndarray) -> FeatureSums:
    r"""Return the sums with more features taken in.

    With n features of mean m before and k of mean m' and scatter S' now,

    .. math:: m \to m + \frac{k}{n + k} d, \quad
              S \to S + S' + \frac{n k}{n + k} d d^T, \quad d = m' - m

    which, unlike sums of squares, loses nothing where the mean is large beside the
    deviation; in what parts the features come makes no difference but of rounding.

    Args:
        sums: of the features so far.
        features: floating [K, D]; of no images, K = 0, nothing changes.

    Raises:
        InputError: another shape, or a feature that is not finite.

    Reference:
        Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing
        Sample Variances, 1979, Equation 2.1.

    0 and 2 have mean 1 and scatter 2; with 4 they have mean 2 and scatter 4 + 0 + 4:

    >>> sums = add(no_features(1), np.array([[0.0], [2.0]]))
    >>> print(sums.mean, sums.scatter)
    [1.] [[2.]]
    >>> sums = add(sums, np.array([[4.0]]))
    >>> print(sums.mean, sums.scatter)
    [2.] [[8.]]
    """
    if features.ndim != 2 or features.shape[1] != len(sums.mean):
        raise InputError(
            f"features must be [images, {len(sums.mean)}]; got {list(features.shape)}: "
            "take all of them from one network"
        )
    if not np.isfinite(features).all():
        bad = int(np.sum(~np.isfinite(features).all(axis=1)))
        raise InputError(
            f"features must be finite; got others for {bad} of {len(features)} images: "
            "look at the images and at the weights of the network"
        )
    more = len(features)
    if not more:
        return sums
    x = features.astype(np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    total, d = sums.count + more, mean - sums.mean
    between = np.outer(d, d) * (sums.count * more / total)
    scatter = sums.scatter + centred.T @ centred + between
    return FeatureSums(total, sums.mean + d * (more / total), scatter)


def frechet_distance(a: FeatureSums, b: FeatureSums) -> float:
    r"""Return the squared Frechet distance of the Gaussians with these moments.

    .. math:: \lVert m_a - m_b \rVert^2
              + \mathrm{Tr}(S_a + S_b - 2 (S_a S_b)^{1/2})

    The covariances S are the unbiased ones, as in the program of Heusel et al. The
    distance of two finite samples is too large on average, so only distances of the
    same numbers of images can be compared.

    The trace of the root is the sum of the roots of the eigenvalues of
    sqrt(S_a) S_b sqrt(S_a), which are the singular values of sqrt(S_b) sqrt(S_a). Those
    are never complex, and are computed without the product, in which rounding by 1e-16
    would become 1e-8 under the root, once for each direction that has no variance.

    Args:
        a: sums over at least two images.
        b: sums over at least two images, of features of the same network.

    Returns:
        The distance, at least 0.

    Raises:
        InputError: fewer images, another number of features, or a moment that is not
            finite.

    Reference:
        Heusel et al.: GANs Trained by a Two Time-Scale Update Rule, 2017, Equation 6,
        https://arxiv.org/abs/1706.08500
        Dowson, Landau: The Frechet Distance between Multivariate Normal Distributions,
        1982.

    Means 1 and 2 and variances 2 and 8: 1 + 2 + 8 - 2 * sqrt(16) = 3

    >>> a = add(no_features(1), np.array([[0.0], [2.0]]))
    >>> b = add(no_features(1), np.array([[0.0], [4.0]]))
    >>> round(frechet_distance(a, b), 9)
    3.0
    """
    if min(a.count, b.count) < 2 or len(a.mean) != len(b.mean):
        raise InputError(
            "a Frechet distance is one of two sets of two images or more with as many "
            f"features; got {a.count} images with {len(a.mean)} features and {b.count} "
            f"with {len(b.mean)}: give more images, or features of one network"
        )
    if not all(np.isfinite(moment).all() for moment in (*a, *b)):
        raise InputError(
            "the moments of features must be finite; got others: look at the images "
            "and at the weights of the network"
        )
    cov_a, cov_b = a.covariance, b.covariance
    root = np.linalg.svd(_root(cov_a).T @ _root(cov_b), compute_uv=False).sum()
    apart = np.sum(np.square(a.mean - b.mean))
    distance = apart + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    return max(float(distance), 0.0)


def score(probabilities: np.ndarray, splits: int) -> tuple[float, float]:
    r"""Return the Inception score of class probabilities, or that of another network.

    .. math:: \exp \Big( \frac{1}{n} \sum_i \sum_y p(y | x_i)
              \log \frac{p(y | x_i)}{p(y)} \Big), \quad
              p(y) = \frac{1}{n} \sum_i p(y | x_i)

    of each of the consecutive splits, n images each, with a marginal of its own. It is
    1 where all images look alike to the classifier, and C at most for C classes.

    Args:
        probabilities: floating [N, C], p(y | x_i), with rows that sum to 1.
        splits: parts that the images are cut into, as equal as can be; the score that
            Salimans et al. published is of 10 parts of 5,000 images.

    Returns:
        Its mean and its population standard deviation over the splits.

    Raises:
        InputError: no probabilities, or fewer images than splits.

    Reference:
        Salimans et al.: Improved Techniques for Training GANs, 2016, Section 4,
        https://arxiv.org/abs/1606.03498

    Sure of two classes in turn, or of nothing; one split of each has score 2 and 1:

    >>> sure, unsure = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    >>> print(*score(np.array(sure + unsure), splits=2))
    1.5 0.5
    """
    if probabilities.ndim != 2 or not np.isfinite(probabilities).all():
        raise InputError(
            "class probabilities must be finite numbers [images, classes]; got "
            f"{list(probabilities.shape)}, not all of them finite or not of this shape:"
            " look at the images and at the weights of the network"
        )
    if not 1 <= splits <= len(probabilities):
        raise InputError(
            "a score needs an image for each of its splits; got "
            f"{len(probabilities)} images and {splits} splits: give more images, or "
            "choose fewer splits"
        )
    ends = [i * len(probabilities) // splits for i in range(splits + 1)]
    scores = []
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        p = probabilities[start:end].astype(np.float64)
        gain = p * (_log(p) - _log(p.mean(axis=0)))
        scores.append(np.exp(gain.sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return a factor F [D, D] of a covariance F F^T."""
    values, vectors = np.linalg.eigh(covariance)
    # Rounding leaves some of the eigenvalues that are 0 a little below it.
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _log(p: np.ndarray) -> np.ndarray:
    """Return the logarithm, and 0 at 0: it only ever stands beside a factor of 0."""
    return np.log(p, out=np.zeros_like(p), where=p > 0)
