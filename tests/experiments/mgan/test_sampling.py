"""Draws of the mixture: which generator, and which of its samples."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan import sampling
from experiments.mgan.config import Config
from experiments.mgan.game import draw_noise, initial_state, make_players
from experiments.mgan.sampling import (
    ESTIMATED_OVER,
    choose,
    draw_samples,
    make_sample_each,
    make_statistics,
)
from lars_jax.train.config import replace_fields

K = 4
CONFIG = replace_fields(
    Config(), generators=K, width=32, noise_size=8, init_deviation=0.5
)


def begun(config, channels=3, shape=(2,)):
    players = make_players(config, channels)
    start = jax.jit(partial(initial_state, config, players, sample_shape=shape))
    return players, start(key=jax.random.key(3)).generators


@cache
def sampler(config, size):
    """Return parameters, and what draws so many samples of each generator."""
    players, state = begun(config)
    return state.params, make_sample_each(config, players, size)


def drawn(count, seed=0, size=8, params=None, config=CONFIG):
    own, each = sampler(config, size)
    return draw_samples(each, params or own, {}, jax.random.key(seed), count)


@pytest.mark.parametrize(
    "weights", [[0.25] * 4, [0.7, 0.2, 0.1], [1.0], [0.5, 0.0, 0.5]], ids=len
)
def test_counts_follow_the_weights(weights):
    weights = np.array(weights, np.float32)
    found = np.bincount(choose(weights, 20_000, seed=0), minlength=len(weights))
    spread = np.sqrt(20_000 * weights * (1 - weights))
    assert (np.abs(found - 20_000 * weights) <= 4 * spread).all()


@pytest.mark.parametrize(
    "weights", [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
)
@pytest.mark.parametrize("word", [0, 2**63, 2**64 - 1])
def test_generator_of_weight_0_is_never_drawn_even_at_the_ends(
    weights, word, monkeypatch
):
    monkeypatch.setattr(
        sampling, "random_bits", lambda count, seed: np.full(count, word, np.uint64)
    )
    weights = np.array(weights)
    found = choose(weights, 1, seed=0)
    assert weights[found[0]] > 0


def test_choice_is_a_function_of_the_seed():
    weights = np.full(5, 0.2)
    one, same, other = (choose(weights, 100, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_samples_are_a_function_of_the_key():
    one, same, other = (drawn(20, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.values, same.values)
    np.testing.assert_array_equal(one.generator, same.generator)
    assert (one.values != other.values).all()


def test_no_sample_is_given_twice_and_the_call_size_decides_nothing_else():
    few, many = drawn(60, size=3), drawn(60, size=8)
    np.testing.assert_array_equal(few.generator, many.generator)
    for found in (few, many):
        assert found.values.shape == (60, 2)
        assert found.values.dtype == np.float32
        assert len(np.unique(found.values, axis=0)) == 60


def test_samples_are_those_of_the_generator_named():
    # Calls that say of each sample which generator made it, and when.
    calls = []

    def each(params, model_state, key):
        del params, model_state, key
        order = 2 * len(calls) + jnp.arange(2)
        calls.append(order)
        pairs = jnp.meshgrid(order, jnp.arange(K), indexing="ij")
        return jnp.stack(pairs, axis=-1), jnp.full(K, 1 / K)

    found = draw_samples(each, {}, {}, jax.random.key(0), 40)
    np.testing.assert_array_equal(found.values[:, 1], found.generator)
    for k in range(K):
        turn = found.values[found.generator == k, 0]
        np.testing.assert_array_equal(turn, np.arange(len(turn)))
    most = np.bincount(found.generator).max()
    assert len(calls) == -(-most // 2)


def test_calls_have_keys_of_their_own():
    seen = []

    def each(params, model_state, key):
        del params, model_state
        seen.append(tuple(jax.random.key_data(key).tolist()))
        return jnp.zeros((1, K, 2)), jnp.full(K, 1 / K)

    draw_samples(each, {}, {}, jax.random.key(0), 12)
    assert len(seen) > 2
    assert len(set(seen)) == len(seen)


def test_learned_weights_are_those_of_the_draws():
    config = replace_fields(CONFIG, mixture="learned")
    params = sampler(config, 8)[0] | {"mixture": jnp.array([0.0, -1e4, 2.0, -1e4])}
    found = drawn(400, params=params, config=config)
    counts = np.bincount(found.generator, minlength=K)
    assert counts[1] == counts[3] == 0
    share = 1 / (1 + np.exp(-2.0))
    assert abs(counts[2] - 400 * share) < 4 * np.sqrt(400 * share * (1 - share))


def test_each_sample_has_noise_of_its_own():
    params, each = sampler(CONFIG, 3)
    # All generators are one; with one noise for all they would make the same.
    params = jax.tree.map(lambda leaf: leaf, params)
    kernel = params["network"]["first"]["kernel"]
    params["network"]["first"]["kernel"] = jnp.broadcast_to(kernel[:, :1], kernel.shape)
    values, weights = each(params, {}, jax.random.key(0))
    assert values.shape == (3, K, 2)
    assert len(np.unique(np.asarray(values).reshape(-1, 2), axis=0)) == 3 * K
    np.testing.assert_allclose(weights, 1 / K)


def test_statistics_of_averaged_weights_are_their_own():
    config = replace_fields(
        Config(),
        dataset="digits",
        network="dcgan",
        image_size=8,
        stages=2,
        width=4,
        generators=2,
        noise_size=8,
        init_deviation=0.3,
    )
    players, state = begun(config, 1, (8, 8, 1))
    key = jax.random.key(1)
    params, kept = state.params, state.model_state
    found = make_statistics(config, players)(params, kept, key)
    noise = draw_noise(config, jax.random.clone(key), ESTIMATED_OVER)
    apply = jax.jit(players.generators.apply, static_argnames="train")
    trained, _ = apply(params["network"], kept, noise, train=True)
    sampled, _ = apply(params["network"], found, noise)
    np.testing.assert_allclose(sampled, trained, atol=1e-5)
    stale, _ = apply(params["network"], kept, noise)
    assert np.abs(np.asarray(stale) - trained).max() > 0.1
