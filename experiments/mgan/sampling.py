"""Samples of the mixture: u ~ Mult(pi), z ~ P_z, G_u(z) (Section 3)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.mgan.config import Config
from experiments.mgan.game import Players, draw_noise, mixture_weights
from lars_jax.data.order import random_bits
from lars_jax.models import batch_statistics

SampleEach = Callable[[Any, Any, jax.Array], tuple[jax.Array, jax.Array]]
"""From parameters, state and a key to samples [M, K, ...] and weights [K]."""

ESTIMATED_OVER = 256
"""Samples of each generator that batch statistics are estimated over."""


class Samples(NamedTuple):
    """Samples of the mixture.

    Attributes:
        values: float32 [N, ...].
        generator: which generator made each, int64 [N].
    """

    values: np.ndarray
    generator: np.ndarray


def make_sample_each(config: Config, players: Players, count: int) -> SampleEach:
    """Return a compiled function that draws `count` samples of every generator.

    Each sample has noise of its own, and normalisation uses its running averages.
    """

    @jax.jit
    def sample_each(params: Any, model_state: Any, key: jax.Array) -> Any:
        noise = draw_noise(config, key, count, config.rules.generators)
        values, _ = players.generators.apply(params["network"], model_state, noise)
        return values, mixture_weights(config, params)

    return sample_each


def make_statistics(config: Config, players: Players) -> Callable[..., Any]:
    """Return a compiled function that estimates the batch statistics of parameters.

    It takes parameters, a state of their likeness and a key.
    """

    @jax.jit
    def statistics(params: Any, model_state: Any, key: jax.Array) -> Any:
        noise = draw_noise(config, key, ESTIMATED_OVER)
        return batch_statistics(
            players.generators, params["network"], model_state, noise
        )

    return statistics


def draw_samples(
    sample_each: SampleEach,
    params: Any,
    model_state: Any,
    key: jax.Array,
    count: int,
) -> Samples:
    """Return samples of the mixture, drawn call by call until there are enough.

    Args:
        sample_each: of `make_sample_each`.
        params: of the generators.
        model_state: of the generators.
        key: random key; the samples are a function of it.
        count: N.
    """
    which_key, noise_key = jax.random.split(key)
    seed = int(jax.random.bits(which_key))
    parts: list[np.ndarray] = []
    while True:
        call_key = jax.random.fold_in(noise_key, len(parts))
        part, weights = jax.device_get(sample_each(params, model_state, call_key))
        parts.append(part)
        generator = choose(weights, count, seed)
        if len(parts) * len(part) >= np.bincount(generator).max():
            return Samples(_in_turn(np.concatenate(parts), generator), generator)


def choose(weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return draws of Mult(pi), int64 [count].

    >>> choose(np.array([0.0, 1.0, 0.0]), 3, seed=0).tolist()
    [1, 1, 1]
    """
    # As many bits as a double holds: with all 64, the highest would round to 1.
    uniform = (random_bits(count, seed=seed) >> np.uint64(11)) / 2.0**53
    edges = np.cumsum(weights.astype(np.float64))
    return np.searchsorted(edges / edges[-1], uniform, side="right")


def _in_turn(each: np.ndarray, generator: np.ndarray) -> np.ndarray:
    """Return for each draw the next sample of its generator, of [M, K, ...]."""
    place = np.zeros(len(generator), np.int64)
    for k in range(each.shape[1]):
        own = generator == k
        place[own] = np.arange(own.sum())
    return each[place, generator]
