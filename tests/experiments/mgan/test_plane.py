"""Distances and counts of samples in the plane, against hand numbers and SciPy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance_nd

from experiments.mgan.config import DataConfig
from experiments.mgan.mixture import make_mixture
from experiments.mgan.plane import (
    CELLS,
    half_side,
    histogram,
    measure,
    score_true_samples,
    symmetric_kl,
    true_masses,
    wasserstein,
)
from lars_jax.errors import InputError


@pytest.fixture(scope="module")
def ring():
    return make_mixture(DataConfig())


def at_modes(truth, modes, each=10):
    """Return samples that lie on the given modes, so many on each."""
    return np.repeat(truth.means[list(modes)], each, axis=0)


def test_masses_are_the_histogram_of_many_true_samples(ring):
    masses = true_masses(ring)
    assert masses.shape == (CELLS, CELLS)
    np.testing.assert_allclose(masses.sum(), 1.0, atol=1e-12)
    found = histogram(ring.draw_host(np.random.default_rng(0), 200_000), 3.0)
    spread = np.sqrt(masses / 200_000)
    assert (np.abs(found - masses) < 6 * spread + 2e-5).all()


def test_cells_are_half_open_and_the_outermost_take_what_lies_beyond():
    side = 6 / CELLS
    points = np.array([[-3.0, -3.0], [-3.0 + side, -3.0], [-1e9, 3.0], [1e9, 1e9]])
    found = histogram(points + 1e-9, 3.0)
    assert found[0, 0] == found[1, 0] == found[0, 30] == found[30, 30] == 0.25


def test_symmetric_kl_by_hand():
    p, q = np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]])
    # (1/2 - 3/4) log(2/3) + (1/2 - 1/4) log 2
    expected = 0.25 * np.log(1.5) + 0.25 * np.log(2)
    assert symmetric_kl(p, q) == pytest.approx(expected, rel=1e-5)


def test_symmetric_kl_is_symmetric_and_0_for_the_same():
    p, q = np.random.default_rng(0).dirichlet(np.ones(9), 2).reshape(2, 3, 3)
    assert symmetric_kl(p, q) == pytest.approx(symmetric_kl(q, p), rel=1e-12)
    assert symmetric_kl(p, p) == 0.0


def test_symmetric_kl_of_histograms_apart_is_finite():
    apart = np.eye(2)
    # Twice log of 1 over the smoothing.
    assert symmetric_kl(*apart) == pytest.approx(2 * np.log(1e6), rel=1e-4)


def test_wasserstein_by_hand():
    found, truth = np.zeros((2, 3, 3))
    found[0, 0] = 1.0
    # Half goes 2 to the side, half 2 to the side and 2 up.
    truth[1, 0] = truth[1, 1] = 0.5
    assert wasserstein(found, truth, 3.0) == pytest.approx(0.5 * 2 + 0.5 * np.sqrt(8))


def test_wasserstein_of_a_shift_is_its_length():
    found = np.zeros((CELLS, CELLS))
    found[5:9, 5:9] = np.random.default_rng(0).dirichlet(np.ones(16)).reshape(4, 4)
    moved = np.roll(found, (3, 4), axis=(0, 1))
    assert wasserstein(found, moved, 3.0) == pytest.approx(5 * 6 / CELLS, rel=1e-6)


def test_wasserstein_equals_scipy():
    random = np.random.default_rng(0)
    found, truth = random.dirichlet(np.full(16, 0.5), 2).reshape(2, 4, 4)
    found[random.random((4, 4)) < 0.3] = 0.0
    found /= found.sum()
    line = np.array([-2.25, -0.75, 0.75, 2.25])
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    expected = wasserstein_distance_nd(centres, centres, found.ravel(), truth.ravel())
    assert wasserstein(found, truth, 3.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("extent", [0.5, 4.0, 10.0])
def test_distances_go_with_the_extent_of_the_data(ring, extent):
    share = extent / 2
    other = make_mixture(DataConfig(extent=extent, variance=0.02 * share**2))
    samples = ring.draw_host(np.random.default_rng(0), 2000)
    generator = np.zeros(2000, int)
    for factor in (1.0, 1.2):
        expected = measure(ring, factor * samples, generator)
        found = measure(other, factor * share * samples, generator)
        assert found["symmetric_kl"] == pytest.approx(expected["symmetric_kl"], 1e-6)
        distance = share * expected["wasserstein"]
        assert found["wasserstein"] == pytest.approx(distance, 1e-6)


@pytest.mark.parametrize("variance", [0.02, 0.5, 9.0])
def test_few_true_samples_lie_beyond_the_square(variance):
    mixture = make_mixture(DataConfig(variance=variance))
    samples = mixture.draw_host(np.random.default_rng(0), 100_000)
    assert (np.abs(samples) > half_side(mixture)).any(axis=1).mean() < 1e-4


def test_score_of_true_samples_falls_with_their_number(ring, monkeypatch):
    monkeypatch.setattr("experiments.mgan.plane.DRAWS", 2)
    few, many = score_true_samples(ring, 500), score_true_samples(ring, 10_000)
    assert many["symmetric_kl"] == pytest.approx(0.032, abs=0.005)
    assert 0.02 < many["wasserstein"] < 0.04
    assert many["symmetric_kl"] < few["symmetric_kl"]
    assert many["wasserstein"] < few["wasserstein"]
    assert score_true_samples(ring, 500) == few


def test_true_samples_are_measured_as_good(ring):
    random = np.random.default_rng(0)
    mode = random.integers(8, size=10_000)
    noise = random.normal(size=(10_000, 2)) * ring.deviation
    found = measure(ring, ring.means[mode] + noise, mode)
    # Within three deviations in two dimensions: 1 - exp(-9/2).
    assert found["precision"] == pytest.approx(0.989, abs=0.004)
    assert found["modes"] == found["generators"] == 8
    assert found["purity"] == 1.0
    assert found["wasserstein"] < 0.05


def test_only_modes_that_samples_are_near_are_covered(ring):
    samples = at_modes(ring, [0, 3, 4])
    found = measure(ring, samples, np.zeros(30, int))
    assert found["modes"] == 3
    assert found["precision"] == 1.0


@pytest.mark.parametrize(("count", "modes"), [(24, 1), (25, 2)])
def test_mode_is_covered_from_a_fifth_of_its_share(ring, count, modes):
    # 1,000 samples of eight even modes: a share is 125.
    samples = np.concatenate(
        [at_modes(ring, [0], 1000 - count), at_modes(ring, [5], count)]
    )
    assert measure(ring, samples, np.zeros(1000, int))["modes"] == modes


def test_share_of_a_mode_is_its_own():
    truth = make_mixture(DataConfig(modes=2, shares="rising"))
    # Shares of 1/3 and 2/3: 10 % covers the first and not the second.
    few_of_first = np.concatenate([at_modes(truth, [0], 10), at_modes(truth, [1], 90)])
    few_of_second = np.concatenate([at_modes(truth, [0], 90), at_modes(truth, [1], 10)])
    one = np.zeros(100, int)
    assert measure(truth, few_of_first, one)["modes"] == 2
    assert measure(truth, few_of_second, one)["modes"] == 1


@pytest.mark.parametrize(("away", "near"), [(2.9, 1.0), (3.1, 0.0)])
def test_sample_belongs_to_a_mode_within_three_deviations(ring, away, near):
    samples = at_modes(ring, range(8), 1).astype(np.float64)
    samples[:, 0] += away * ring.deviation
    found = measure(ring, samples, np.arange(8))
    assert found["precision"] == near
    assert found["modes"] == 8 * near


def test_generators_are_counted_by_the_mode_that_each_makes_most(ring):
    # Generator 0 makes mode 1 and a little of 2; 1 makes mode 1 too; 3 makes mode 6.
    samples = np.concatenate(
        [at_modes(ring, [1], 8), at_modes(ring, [2], 2), at_modes(ring, [1, 6])]
    )
    generator = np.repeat([0, 1, 3], 10)
    found = measure(ring, samples, generator)
    assert found["generators"] == 2
    assert found["purity"] == pytest.approx(28 / 30)
    assert found["modes"] == 3


def test_samples_that_are_not_finite_are_refused(ring):
    samples = at_modes(ring, [0, 1])
    samples[[3, 7], [0, 1]] = np.nan, np.inf
    with pytest.raises(InputError, match="finite to be measured; 2 of 20 are not"):
        measure(ring, samples, np.zeros(20, int))


def test_distances_of_measure_are_those_of_the_histogram(ring):
    samples = at_modes(ring, [0, 1, 2, 3]) + 0.05
    found = measure(ring, samples, np.zeros(40, int))
    shares = histogram(samples, 3.0)
    assert found["symmetric_kl"] == symmetric_kl(shares, true_masses(ring))
    assert found["wasserstein"] == wasserstein(shares, true_masses(ring), 3.0)
    # Half of the mass has at least to cross from one side of the ring to the other.
    nearest = cdist(ring.means[4:], ring.means[:4]).min()
    assert found["wasserstein"] > 0.5 * nearest - 0.5
