"""Where the Gaussians lie, how much of them a cell holds, and what is drawn."""

import jax
import numpy as np
import pytest

from experiments.mgan.config import DataConfig
from experiments.mgan.mixture import Mixture, make_mixture

ONE = Mixture(np.zeros((1, 2), np.float32), np.ones(1, np.float32), 0.5)
OPEN = np.array([-np.inf, -1.0, 0.0, 0.5, np.inf])


def test_modes_of_a_ring_are_even_around_the_circle():
    means = make_mixture(DataConfig(modes=8, extent=2.0)).means
    half = 2 * np.sqrt(0.5)
    np.testing.assert_allclose(
        means[:4], [[2, 0], [half, half], [0, 2], [-half, half]], atol=1e-6
    )
    np.testing.assert_allclose(means[4:], -means[:4], atol=1e-6)


def test_modes_of_a_grid_are_all_pairs_of_its_lines():
    means = make_mixture(DataConfig(dataset="grid", modes=9, extent=2.0)).means
    expected = {(x, y) for x in (-2.0, 0.0, 2.0) for y in (-2.0, 0.0, 2.0)}
    assert {tuple(mean) for mean in means.tolist()} == expected


def test_variance_is_not_a_deviation():
    assert make_mixture(DataConfig(variance=0.04)).deviation == pytest.approx(0.2)


def test_shares_are_even_or_rise():
    even = make_mixture(DataConfig(modes=4))
    np.testing.assert_allclose(even.weights, 0.25)
    rising = make_mixture(DataConfig(modes=4, shares="rising"))
    np.testing.assert_allclose(rising.weights, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_masses_by_hand():
    # One deviation to either side of the middle holds 68.27 %.
    masses = ONE.cell_masses(np.array([-np.inf, -0.5, 0.5, np.inf]))
    np.testing.assert_allclose(masses[1, 1], 0.682689**2, rtol=1e-5)
    np.testing.assert_allclose(masses[0, 1], 0.158655 * 0.682689, rtol=1e-5)


def test_masses_have_the_first_coordinate_first():
    right = Mixture(np.array([[5.0, -5.0]], np.float32), np.ones(1, np.float32), 0.1)
    masses = right.cell_masses(np.array([-np.inf, 0.0, np.inf]))
    np.testing.assert_allclose(masses, [[0.0, 0.0], [1.0, 0.0]], atol=1e-12)


def test_masses_are_the_shares_of_drawn_samples(key):
    mixture = make_mixture(DataConfig(modes=5, variance=0.3, shares="rising"))
    count = 40_000
    x, y = np.asarray(mixture.draw(key, count)).T
    edges = np.where(np.isinf(OPEN), np.sign(OPEN) * 1e6, OPEN)
    found = np.histogram2d(x, y, bins=[edges, edges])[0] / count
    masses = mixture.cell_masses(OPEN)
    np.testing.assert_allclose(masses.sum(), 1.0, atol=1e-6)
    spread = np.sqrt(masses * (1 - masses) / count)
    assert (np.abs(found - masses) < 5 * spread).all()


def test_drawn_samples_have_the_moments_of_the_mixture(key):
    mixture = make_mixture(DataConfig(modes=3, variance=0.01, shares="rising"))
    samples = np.asarray(mixture.draw(key, 40_000))
    assert samples.dtype == np.float32
    gaps = np.linalg.norm(samples[:, None] - mixture.means, axis=-1)
    mode = gaps.argmin(axis=1)
    shares = np.bincount(mode, minlength=3) / len(samples)
    np.testing.assert_allclose(shares, [1 / 6, 1 / 3, 1 / 2], atol=0.013)
    around = samples - mixture.means[mode]
    np.testing.assert_allclose(np.cov(around.T), 0.01 * np.eye(2), atol=4e-4)
    np.testing.assert_allclose(around.mean(axis=0), 0.0, atol=3e-3)


def test_draws_are_a_function_of_the_key():
    mixture = make_mixture(DataConfig())
    one, same, other = (mixture.draw(jax.random.key(n), 16) for n in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).any(axis=1).all()
