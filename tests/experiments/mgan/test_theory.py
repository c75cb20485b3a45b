"""At the optimum on finite distributions, the losses are the game of the paper."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.objectives import (
    classifier_loss,
    discriminator_loss,
    generator_loss,
)
from tests.experiments.mgan.theory import (
    divergence,
    entropy,
    generalised_divergence,
    optimal_discriminator,
    value_of_theorem,
)

SEEDS = range(4)


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


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_of_both_heads_are_the_value_of_the_game(seed):
    game = FiniteGame(seed)
    adversarial = -discriminator_loss(game.real, game.fake, game.pi)
    diversity = classifier_loss(game.kinds, game.pi)
    for beta in (0.0, 0.125, 1.0, 7.0):
        expected = value_of_theorem(*game.probabilities, beta)
        found = adversarial + beta * diversity
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
