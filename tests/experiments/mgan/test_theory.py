"""What the paper proves, on finite distributions, and that the losses are its game."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.objectives import (
    classifier_loss,
    discriminator_loss,
    generator_loss,
)
from tests.experiments.mgan.theory import (
    cross_entropy,
    divergence,
    entropy,
    game_value,
    generalised_divergence,
    optimal_classifier,
    optimal_discriminator,
    random_game,
    separated_game,
    value_of_theorem,
)

SEEDS = range(12)
BETAS = (0.0, 0.125, 1.0, 7.0)


def value_at_optimum(data, made, weights, beta):
    return game_value(
        data,
        made,
        weights,
        optimal_discriminator(data, made, weights),
        optimal_classifier(made, weights),
        beta,
    )


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("seed", SEEDS)
def test_game_at_its_optimum_is_the_sum_of_theorem_2(seed, beta):
    game = random_game(seed)
    found = value_at_optimum(*game, beta)
    np.testing.assert_allclose(found, value_of_theorem(*game, beta), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_other_discriminator_is_worse_for_itself(seed):
    data, made, weights = random_game(seed)
    best = optimal_discriminator(data, made, weights)
    classifier = optimal_classifier(made, weights)
    highest = game_value(data, made, weights, best, classifier, 0.5)
    random = np.random.default_rng(seed)
    for size in (1e-3, 0.1, 0.9):
        other = best + size * (random.random(best.shape) - best)
        value = game_value(data, made, weights, other, classifier, 0.5)
        assert value < highest


@pytest.mark.parametrize("seed", SEEDS)
def test_any_other_classifier_is_worse_for_itself(seed):
    data, made, weights = random_game(seed, generators=3)
    discriminator = optimal_discriminator(data, made, weights)
    best = optimal_classifier(made, weights)
    lowest = game_value(data, made, weights, discriminator, best, 0.5)
    random = np.random.default_rng(seed)
    for size in (1e-3, 0.1, 0.9):
        drawn = random.dirichlet(np.ones(len(weights)), made.shape[1]).T
        other = best + size * (drawn - best)
        value = game_value(data, made, weights, discriminator, other, 0.5)
        assert value > lowest


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("generators", [1, 2, 5])
def test_generators_of_one_component_each_give_minus_log_4(generators, beta):
    game = separated_game(generators, generators)
    np.testing.assert_allclose(value_at_optimum(*game, beta), -np.log(4), atol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("generators", [1, 2, 5])
def test_reduced_objective_of_separated_generators_is_minus_the_entropy(
    generators, beta
):
    data, made, weights = separated_game(generators, generators)
    reduced = 2 * divergence(data, weights @ made)
    reduced -= beta * generalised_divergence(made, weights)
    np.testing.assert_allclose(reduced, -beta * entropy(weights), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_generators_have_a_lower_reduced_objective_than_separated_ones(seed):
    beta = 0.5
    data, made, weights = separated_game(seed, 3)
    others = np.random.default_rng(seed).dirichlet(np.ones(made.shape[1]), 3)
    reduced = 2 * divergence(data, weights @ others)
    reduced -= beta * generalised_divergence(others, weights)
    assert reduced > -beta * entropy(weights)


@pytest.mark.parametrize("seed", SEEDS)
def test_generators_that_are_one_cannot_be_told_apart(seed):
    _, made, weights = random_game(seed, generators=4)
    same = np.broadcast_to(made[0], made.shape)
    np.testing.assert_allclose(generalised_divergence(same, weights), 0.0, atol=1e-12)
    best = cross_entropy(optimal_classifier(same, weights), same, weights)
    np.testing.assert_allclose(best, entropy(weights), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_divergence_of_generators_is_between_0_and_the_entropy_of_their_weights(seed):
    _, made, weights = random_game(seed)
    found = generalised_divergence(made, weights)
    assert -1e-12 <= found <= entropy(weights) + 1e-12
    assert entropy(weights) <= np.log(len(weights)) + 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_no_classifier_has_less_loss_than_entropy_minus_divergence(seed):
    _, made, weights = random_game(seed)
    least = entropy(weights) - generalised_divergence(made, weights)
    best = cross_entropy(optimal_classifier(made, weights), made, weights)
    np.testing.assert_allclose(best, least, atol=1e-12)
    random = np.random.default_rng(seed)
    for _ in range(5):
        drawn = random.dirichlet(np.ones(len(weights)), made.shape[1]).T
        assert cross_entropy(drawn, made, weights) >= least - 1e-12


def test_two_equal_generators_are_told_apart_as_data_are_from_samples():
    _, made, _ = random_game(3, generators=2, atoms=8)
    half = np.full(2, 0.5)
    reached = made.sum(axis=0) > 0
    np.testing.assert_allclose(
        optimal_classifier(made, half)[0][reached],
        optimal_discriminator(made[0], made[1:], np.ones(1))[reached],
        atol=1e-12,
    )
    np.testing.assert_allclose(
        generalised_divergence(made, half), divergence(*made), atol=1e-12
    )


class FiniteGame:
    """Samples in exact proportion to a game's probabilities, and the optimal logits.

    The probabilities are whole 40ths, so that 40 samples of each generator and of the
    data hold every atom as often as it is probable.
    """

    SAMPLES = 40

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        counts = random.multinomial(self.SAMPLES, random.dirichlet(np.ones(6), 4))
        self.data, self.made = counts[0] / 40, counts[1:] / 40
        self.weights = random.dirichlet(np.ones(3))
        atoms = np.arange(6)
        real = np.repeat(atoms, counts[0])
        fake = np.stack([np.repeat(atoms, row) for row in counts[1:]], axis=1)
        with np.errstate(divide="ignore"):
            mixed = np.log(self.weights @ self.made)
            realness = np.log(self.data) - mixed
            kinds = np.log(self.weights[:, None] * self.made).T
        # What never is has a logit that is finite, as of a network, and probability 0.
        realness, kinds = (
            np.clip(logit, -1e4, 1e4).astype(np.float32) for logit in (realness, kinds)
        )
        self.real, self.fake = jnp.array(realness[real]), jnp.array(realness[fake])
        self.kinds = jnp.array(kinds[fake])
        self.pi = jnp.array(self.weights, jnp.float32)

    @property
    def probabilities(self):
        return self.data, self.made, self.weights


@pytest.mark.parametrize("seed", SEEDS)
def test_discriminator_loss_at_the_optimum_is_log_4_minus_2_jsd(seed):
    game = FiniteGame(seed)
    found = discriminator_loss(game.real, game.fake, game.pi)
    expected = np.log(4) - 2 * divergence(game.data, game.weights @ game.made)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_classifier_loss_at_the_optimum_is_entropy_minus_divergence(seed):
    game = FiniteGame(seed)
    found = classifier_loss(game.kinds, game.pi)
    expected = entropy(game.weights) - generalised_divergence(game.made, game.weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("seed", SEEDS)
def test_losses_of_both_heads_are_the_value_of_the_game(seed, beta):
    game = FiniteGame(seed)
    found = -discriminator_loss(game.real, game.fake, game.pi)
    found += beta * classifier_loss(game.kinds, game.pi)
    expected = value_of_theorem(*game.probabilities, beta)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_saturating_loss_of_generators_is_their_part_of_the_game(seed):
    game, beta = FiniteGame(seed), 0.5
    found = generator_loss(game.fake, game.pi, "saturating")
    found += beta * classifier_loss(game.kinds, game.pi)
    best = optimal_discriminator(*game.probabilities)
    reached = game.data > 0
    theirs = game.data[reached] @ np.log(best[reached])
    expected = value_of_theorem(*game.probabilities, beta) - theirs
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
