"""Mixtures of Gaussians in the plane: data whose modes one can count."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from experiments.mgan.config import DataConfig
from lars_jax.errors import InputError


class Mixture(NamedTuple):
    """Isotropic Gaussians of one variance in the plane.

    Attributes:
        means: float32 [N, 2].
        weights: their shares, float32 [N].
        deviation: standard deviation along each axis.
    """

    means: np.ndarray
    weights: np.ndarray
    deviation: float

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """Return samples, float32 [count, 2]."""
        which, where = jax.random.split(key)
        mode = jax.random.choice(
            which, len(self.means), (count,), p=jnp.asarray(self.weights)
        )
        noise = jax.random.normal(where, (count, 2))
        return jnp.asarray(self.means)[mode] + self.deviation * noise

    def draw_host(self, numbers: np.random.Generator, count: int) -> np.ndarray:
        """Return samples drawn by NumPy, float64 [count, 2]."""
        shares = self.weights.astype(np.float64)
        mode = numbers.choice(len(shares), count, p=shares / shares.sum())
        return self.means[mode] + self.deviation * numbers.standard_normal((count, 2))

    def cell_masses(self, edges: np.ndarray) -> np.ndarray:
        """Return the probability of each cell of a square grid, float64 [C, C].

        Args:
            edges: of the cells along either axis, [C + 1]; the outermost may be
                infinite.
        """
        spread = (edges[:, None] - self.means.T[:, None, :]) / self.deviation
        along_x, along_y = np.diff(ndtr(spread.astype(np.float64)), axis=1)
        return np.einsum("im,jm,m->ij", along_x, along_y, self.weights)


def make_mixture(config: DataConfig) -> Mixture:
    """Return the mixture that a configuration names.

    Raises:
        InputError: a grid whose number of modes is no square.

    >>> ring = make_mixture(DataConfig())
    >>> len(ring.means), round(ring.deviation, 4), ring.means[0].tolist()
    (8, 0.1414, [2.0, 0.0])
    """
    modes = config.modes
    if config.dataset == "ring":
        angle = 2 * np.pi * np.arange(modes) / modes
        means = config.extent * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:
        side = math.isqrt(modes)
        if side * side != modes:
            raise InputError(
                f"a grid has a square number of modes; got modes {modes}: choose "
                f"{side * side} or {(side + 1) ** 2}"
            )
        line = np.linspace(-config.extent, config.extent, side)
        means = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    share = np.ones(modes) if config.shares == "even" else np.arange(1, modes + 1)
    return Mixture(
        means.astype(np.float32),
        (share / share.sum()).astype(np.float32),
        math.sqrt(config.variance),
    )
