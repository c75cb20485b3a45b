"""Discriminator and classifier alone, trained on fixed generators, find the optimum.

Data and generators are distributions over a few places, of which samples are given in
exact proportion; what is best at each place is known.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, softmax
from scipy.stats import norm

from experiments.mgan.config import Config
from experiments.mgan.game import discriminator_losses, make_players
from experiments.mgan.objectives import Logits, classifier_loss, discriminator_loss
from lars_jax.train.config import replace_fields
from tests.experiments.mgan.theory import optimal_classifier, optimal_discriminator

K = 3


def samples_of(probabilities, count):
    """Return places in proportion, [count], and the probabilities that those have."""
    edges = np.cumsum(probabilities) / np.sum(probabilities)
    places = np.searchsorted(edges, (np.arange(count) + 0.5) / count)
    return places, np.bincount(places, minlength=len(edges)) / count


def fixed_game(densities, count):
    """Return places of the data [B] and of generators [M, K], and the distributions."""
    pairs = [samples_of(density, count) for density in densities]
    places = np.stack([place for place, _ in pairs], axis=1)
    shares = np.stack([share for _, share in pairs])
    return places[:, 0], places[:, 1:], shares[0], shares[1:]


def trained(loss, params, rate, steps):
    tx = optax.adam(rate)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def run(params):
        return jax.lax.scan(step, (params, tx.init(params)), length=steps)[0][0]

    # Optax's Adam raises a float to an integer power.
    with jax.numpy_dtype_promotion("standard"):
        return run(params)


def gaussians(line, means, deviation):
    return [norm.pdf(line, mean, deviation) for mean in means]


@pytest.mark.parametrize("weights", [[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]])
def test_logits_of_places_on_a_line_converge_to_the_optimum(weights):
    line = np.linspace(-3, 3, 25)
    data = 0.5 * norm.pdf(line, -1.2, 0.5) + 0.5 * norm.pdf(line, 1.0, 0.7)
    made = gaussians(line, [-1.5, 0.0, 1.5], 0.7)
    real, fake, data, made = fixed_game([data, *made], 400)
    weights, pi = np.array(weights), jnp.array(weights, jnp.float32)

    def loss(logits):
        adversarial = discriminator_loss(
            logits.realness[real], logits.realness[fake], pi
        )
        return adversarial + classifier_loss(logits.generators[fake], pi)

    begin = Logits(jnp.zeros(25), jnp.zeros((25, K)))
    found = trained(loss, begin, 0.05, 1000)
    reached = weights @ made > 0
    best = optimal_discriminator(data, made, weights)
    gap = np.abs(expit(found.realness) - best)[reached | (data > 0)]
    assert gap.max() < 0.02
    # The data are nowhere near sure of being told, nor the same as the samples.
    assert best[reached].std() > 0.1
    kinds = softmax(found.generators, axis=-1).T
    gap = np.abs(kinds - optimal_classifier(made, weights))[:, reached]
    assert gap.max() < 0.02


def test_networks_in_the_plane_converge_to_the_optimum():
    places = np.array([[0, 0], [2, 0], [0, 2], [-2, 0], [0, -2]], np.float32)
    densities = np.array(
        [[4, 2, 1, 1, 2], [1, 6, 1, 1, 1], [2, 1, 5, 1, 1], [2, 1, 1, 3, 3]]
    )
    real, fake, data, made = fixed_game(densities, 10)
    config = replace_fields(Config(), generators=K, width=32, init_deviation=0.5)
    players, pi = make_players(config), jnp.full(K, 1 / K)
    params, _ = players.discriminator.init(jax.random.key(0), jnp.zeros((1, 2)))

    def loss(params):
        batch = jnp.asarray(places[real]), jnp.asarray(places[fake])
        return discriminator_losses(config, players, params, *batch, pi)[0]

    params = trained(loss, params, 0.01, 2000)
    found: Any = players.discriminator.apply(params, {}, jnp.asarray(places))[0]
    weights = np.full(K, 1 / K)
    best = optimal_discriminator(data, made, weights)
    np.testing.assert_allclose(expit(found.realness), best, atol=0.02)
    kinds = softmax(found.generators, axis=-1).T
    np.testing.assert_allclose(kinds, optimal_classifier(made, weights), atol=0.02)
