"""What the end of a game of images is looked at by."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mgan.check import LEAST_IMAGES
from experiments.mgan.game import GameState, draw_noise, logits_of_fakes
from experiments.mgan.inputs import to_bytes
from experiments.mgan.trainer import Trainer

BETWEEN = 12
"""Images from one noise to another, both ends included."""

NEIGHBOURS = LEAST_IMAGES - 1
"""Training images beside a sample."""

COMPARED = 100
"""Samples, and real images, whose nearest training images are measured."""

GALLERY_USE = 3
"""Tells its samples from those of other uses."""

REAL_PART = 5000
"""Training images that distances are taken to at a time."""


GALLERY = "gallery.npz"
"""File of a run that holds its gallery."""


class Gallery(NamedTuple):
    """Images of the averaged generators, and what is to be known of them.

    Attributes:
        interpolation: from one noise to another, uint8 [K, BETWEEN, S, S, C].
        neighbours: a sample of each generator and the training images nearest to it,
            uint8 [K, 1 + NEIGHBOURS, S, S, C].
        sample_distance: root mean squared difference, in bytes, from samples to the
            nearest training image, float64 [COMPARED], or [K] of more generators.
        real_distance: the same from training images to the nearest other one.
        confusion: share of each generator's samples that the classifier takes for
            each, float64 [K, K].
    """

    interpolation: np.ndarray
    neighbours: np.ndarray
    sample_distance: np.ndarray
    real_distance: np.ndarray
    confusion: np.ndarray


def make_gallery(trainer: Trainer, state: GameState) -> Gallery:
    """Return the gallery of a game of images."""
    image = trainer.inputs.image
    assert image is not None
    count = trainer.config.rules.generators
    rows = trainer.sample_rows(state, -(-COMPARED // count), use=GALLERY_USE)
    # The first of every generator come first.
    flat = to_bytes(rows).reshape(-1, *image.shape[1:])[: max(COMPARED, count)]
    nearest, distance = nearest_images(flat, image)
    real = np.linspace(0, len(image) - 1, COMPARED).astype(int)
    # The nearest to a training image is itself.
    _, real_distance = nearest_images(image[real], image)
    shown = [
        np.concatenate([flat[k : k + 1], image[nearest[k, :NEIGHBOURS]]])
        for k in range(count)
    ]
    return Gallery(
        interpolate(trainer, state),
        np.stack(shown),
        distance[:, 0],
        real_distance[:, 1],
        confusion(trainer, state),
    )


def nearest_images(
    queries: np.ndarray, image: np.ndarray, count: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest images and how far they are, the nearest first.

    Args:
        queries: uint8 [Q, S, S, C].
        image: uint8 [N, S, S, C].
        count: neighbours of each query.

    Returns:
        Places int64 [Q, count] and root mean squared differences float64 [Q, count].

    >>> ramp = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    >>> places, distances = nearest_images(ramp[1:2], ramp, count=2)
    >>> places[0, 0], distances.tolist()
    (np.int64(1), [[0.0, 1.0]])
    """
    asked = queries.reshape(len(queries), -1).astype(np.float64)
    parts = []
    for start in range(0, len(image), REAL_PART):
        part = image[start : start + REAL_PART].reshape(-1, asked.shape[1])
        part = part.astype(np.float64)
        # Whole numbers below 2^53, so the difference of large sums is exact.
        squares = (asked**2).sum(1)[:, None] + (part**2).sum(1)[None]
        parts.append(squares - 2 * asked @ part.T)
    squared = np.concatenate(parts, axis=1)
    places = np.argsort(squared, axis=1, kind="stable")[:, :count]
    found = np.take_along_axis(squared, places, axis=1)
    return places, np.sqrt(found / asked.shape[1])


def interpolate(trainer: Trainer, state: GameState) -> np.ndarray:
    """Return what each generator makes of noises on the way from one to another.

    On a straight line for uniform noise, which fills a cube; on a great circle for
    normal noise, whose lengths nearly all are the same.

    Returns:
        uint8 [K, BETWEEN, S, S, C].
    """
    config = trainer.config
    first, last = jnp.split(draw_noise(config, trainer.key(GALLERY_USE), 2), 2)
    share = jnp.linspace(0.0, 1.0, BETWEEN)[:, None]
    if config.model.noise == "normal":
        noise = jnp.cos(share * jnp.pi / 2) * first + jnp.sin(share * jnp.pi / 2) * last
    else:
        noise = (1 - share) * first + share * last
    values = _made(trainer, state, noise)
    return np.swapaxes(to_bytes(np.asarray(values)), 0, 1)


def confusion(trainer: Trainer, state: GameState) -> np.ndarray:
    """Return which generators the classifier takes samples for, float64 [K, K].

    Row k has the shares of the samples of generator k. The classifier normalises by its
    batch, as in training: so many samples of each generator as there.
    """
    config = trainer.config
    hits = np.zeros((config.rules.generators, config.rules.generators))
    rounds = -(-COMPARED // config.fakes)
    judge = jax.jit(partial(logits_of_fakes, trainer.players))
    for round_key in jax.random.split(trainer.key(GALLERY_USE + 1), rounds):
        fake = _made(trainer, state, draw_noise(config, round_key, config.fakes))
        logits: Any = judge(state.judge.params, fake)
        taken = np.asarray(logits.generators).argmax(axis=-1)
        np.add.at(hits, (np.arange(hits.shape[0])[None], taken), 1)
    return hits / hits.sum(axis=1, keepdims=True)


def _made(trainer: Trainer, state: GameState, noise: jax.Array) -> jax.Array:
    params, model_state = trainer.made_by(state, averaged=True)
    apply = jax.jit(trainer.players.generators.apply)
    return apply(params["network"], model_state, noise)[0]
