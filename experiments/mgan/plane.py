"""How good samples in the plane are, where the true density is known.

The KL divergence depends much on the cells of a histogram, the Wasserstein distance
little, so methods are compared under this one definition, not with the paper's curves.
"""

from typing import Any

import numpy as np

from experiments.mgan.mixture import Mixture
from lars_jax.errors import InputError

CELLS = 31

BEYOND = 0.5
"""How far the square reaches beyond the outermost mode, as a share of its place."""

DEVIATIONS = 4.0
"""How far it reaches beyond that mode at least, so that few true samples lie outside:
6 in 100,000 along an axis."""

SMOOTHING = 1e-6
"""Added to every cell before the divergence, so that empty ones have a logarithm."""

NEAR = 3.0
"""Deviations within which a sample belongs to a mode."""

COVERED = 0.2
"""Part of its share of samples that a mode must have near it to be covered."""

DRAWS = 5
"""Sets of true samples whose distances are averaged."""

MOST_PIVOTS = 1_000_000
"""Steps of the network simplex; ten thousand are enough here."""


def half_side(mixture: Mixture) -> float:
    """Return half the side of the square that histograms are taken over.

    Samples beyond it count in the cells at its edge.

    >>> from experiments.mgan.config import DataConfig
    >>> from experiments.mgan.mixture import make_mixture
    >>> [half_side(make_mixture(DataConfig(extent=extent))) for extent in (2.0, 8.0)]
    [3.0, 12.0]
    """
    reach = float(np.abs(mixture.means).max())
    return reach + max(BEYOND * reach, DEVIATIONS * mixture.deviation)


def true_masses(mixture: Mixture) -> np.ndarray:
    """Return the exact masses of the histogram's cells, float64 [CELLS, CELLS].

    >>> from experiments.mgan.config import DataConfig
    >>> from experiments.mgan.mixture import make_mixture
    >>> print(round(true_masses(make_mixture(DataConfig())).sum(), 12))
    1.0
    """
    limit = half_side(mixture)
    edges = np.linspace(-limit, limit, CELLS + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    return mixture.cell_masses(edges)


def measure(
    mixture: Mixture, samples: np.ndarray, generator: np.ndarray
) -> dict[str, float]:
    """Return every measure of samples of a mixture of generators.

    Args:
        mixture: what they imitate.
        samples: float [N, 2].
        generator: which generator made each, int [N].

    Returns:
        `symmetric_kl` in nats, `wasserstein` in units of the data, `modes` covered,
        `precision`, the share of samples near a mode, `generators`, the number of
        distinct modes that generators make most, and `purity`, the share of samples
        that belong to the mode that their generator makes most. In these two a sample
        belongs to the nearest mode, however far that is.

    Raises:
        InputError: a sample that is not finite.
    """
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).any(axis=1).sum())
        raise InputError(
            f"samples must be finite to be measured; {bad} of {len(samples)} are not: "
            "train with lower rates"
        )
    distances = _distances(samples, true_masses(mixture), half_side(mixture))
    return distances | _modes(mixture, samples, generator)


def score_true_samples(mixture: Mixture, count: int) -> dict[str, float]:
    """Return both distances of true samples, which no generator can be asked to beat.

    Args:
        mixture: to draw from.
        count: samples in each of the draws that the distances are averaged over.
    """
    numbers, masses = np.random.default_rng(0), true_masses(mixture)
    limit = half_side(mixture)
    rows = [
        _distances(mixture.draw_host(numbers, count), masses, limit)
        for _ in range(DRAWS)
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _distances(
    samples: np.ndarray, masses: np.ndarray, limit: float
) -> dict[str, float]:
    found = histogram(samples, limit)
    return {
        "symmetric_kl": symmetric_kl(found, masses),
        "wasserstein": wasserstein(found, masses, limit),
    }


def histogram(samples: np.ndarray, limit: float) -> np.ndarray:
    """Return the share of samples in each cell, float64 [CELLS, CELLS].

    Args:
        samples: float [N, 2]; those outside of the square count in the nearest cell.
        limit: half the side of the square.

    >>> print(histogram(np.array([[0.0, 0.0], [99.0, -99.0]]), 3.0)[[15, 30], [15, 0]])
    [0.5 0.5]
    """
    place = (samples + limit) / (2 * limit) * CELLS
    cell = np.clip(np.floor(place), 0, CELLS - 1).astype(int)
    counts = np.bincount(cell[:, 0] * CELLS + cell[:, 1], minlength=CELLS * CELLS)
    return counts.reshape(CELLS, CELLS) / len(samples)


def symmetric_kl(found: np.ndarray, truth: np.ndarray) -> float:
    """Return KL(p || q) + KL(q || p) of two histograms, in nats.

    >>> p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    >>> print(round(symmetric_kl(p, q), 4))
    0.8789
    """
    p, q = found + SMOOTHING, truth + SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def wasserstein(found: np.ndarray, truth: np.ndarray, limit: float) -> float:
    """Return the least mean way from one histogram to another, exactly.

    W1(p, q) = min over transports T of sum_ij T_ij |c_i - c_j|, with the centres c of
    cells of a square grid, by the network simplex of POT.

    Args:
        found: float64 [C, C].
        truth: float64 [C, C].
        limit: half the side of the square.

    >>> apart = np.zeros((2, 3, 3))
    >>> apart[0, 0, 0] = apart[1, 2, 0] = 1.0
    >>> print(wasserstein(*apart, 3.0))
    4.0
    """
    from ot import emd2

    size = len(found)
    line = (np.arange(size) + 0.5) * (2 * limit / size) - limit
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    p, q = found.ravel(), truth.ravel()
    sources, sinks = np.flatnonzero(p), np.flatnonzero(q > 0)
    gaps = centres[sources][:, None] - centres[sinks][None]
    cost = np.sqrt(np.sum(gaps**2, axis=-1))
    p, q = p[sources] / p.sum(), q[sinks] / q.sum()
    least: Any = emd2(p, q, cost, numItermax=MOST_PIVOTS)
    return float(least)


def _modes(
    mixture: Mixture, samples: np.ndarray, generator: np.ndarray
) -> dict[str, float]:
    distance = np.linalg.norm(samples[:, None] - mixture.means[None], axis=-1)
    mode = distance.argmin(axis=1)
    near = distance.min(axis=1) <= NEAR * mixture.deviation
    count = np.bincount(mode[near], minlength=len(mixture.means))
    covered = count >= COVERED * mixture.weights * len(samples)
    made = np.zeros((generator.max() + 1, len(mixture.means)), int)
    np.add.at(made, (generator, mode), 1)
    made = made[made.sum(axis=1) > 0]
    return {
        "modes": float(covered.sum()),
        "precision": float(near.mean()),
        "generators": float(len(set(made.argmax(axis=1).tolist()))),
        "purity": float(made.max(axis=1).sum() / len(samples)),
    }
