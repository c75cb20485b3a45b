"""Discriminator and classifier alone, trained on fixed generators, find the optimum.

Data and generators are distributions over a few places, of which samples are given in
exact proportion; what is best at each place is known.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import expit, softmax

from experiments.mgan.config import Config
from experiments.mgan.game import discriminator_losses, make_players
from lars_jax.train.config import replace_fields

PLACES = np.array([[0, 0], [2, 0], [0, 2], [-2, 0], [0, -2]], np.float32)
TENTHS = np.array([[4, 2, 1, 1, 2], [1, 6, 1, 1, 1], [2, 1, 5, 1, 1], [2, 1, 1, 3, 3]])
"""How many of ten samples are at each place: of the data, then of three generators."""

WEIGHTS = np.array([0.5, 0.3, 0.2])


def test_networks_in_the_plane_converge_to_the_optimum():
    config = replace_fields(Config(), generators=3, width=32, init_deviation=0.5)
    players, pi = make_players(config), jnp.array(WEIGHTS, jnp.float32)
    params, _ = players.discriminator.init(jax.random.key(0), jnp.zeros((1, 2)))
    real, *fake = (jnp.array(np.repeat(PLACES, row, axis=0)) for row in TENTHS)
    tx = optax.adam(0.01)

    def loss(params):
        batch = real, jnp.stack(fake, axis=1), pi
        return discriminator_losses(config, players, params, *batch)[0]

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def trained(params):
        return jax.lax.scan(step, (params, tx.init(params)), length=2000)[0][0]

    # Optax's Adam raises a float to an integer power.
    with jax.numpy_dtype_promotion("standard"):
        params = trained(params)
    logits, _ = players.discriminator.apply(params, {}, jnp.asarray(PLACES))
    found: Any = logits
    data, made = TENTHS[0] / 10, TENTHS[1:] / 10
    mixed = WEIGHTS @ made
    # D* = p_data / (p_data + p_mix) and C*_k = pi_k p_k / p_mix (Proposition 1).
    np.testing.assert_allclose(expit(found.realness), data / (data + mixed), atol=0.02)
    kinds = softmax(found.generators, axis=-1).T
    np.testing.assert_allclose(kinds, WEIGHTS[:, None] * made / mixed, atol=0.02)
