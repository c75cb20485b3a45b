"""What the end of a game of images is looked at by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.experiment import MGAN
from experiments.mgan.gallery import (
    BETWEEN,
    COMPARED,
    NEIGHBOURS,
    confusion,
    interpolate,
    nearest_images,
)
from experiments.mgan.inputs import to_bytes
from lars_jax.runs.train import restore
from lars_jax.train.config import replace_fields


def some_images(count, seed, high=256, shape=(5, 5, 3)):
    random = np.random.default_rng(seed)
    return random.integers(0, high, (count, *shape)).astype(np.uint8)


# With few values there are many ties, and the first of those that tie is taken.
@pytest.mark.parametrize(("high", "shape"), [(256, (5, 5, 3)), (2, (2, 2, 1))])
@pytest.mark.parametrize("count", [1, 4])
def test_nearest_images_are_those_of_brute_force(monkeypatch, high, shape, count):
    # In parts, as a large data set is.
    monkeypatch.setattr("experiments.mgan.gallery.REAL_PART", 7)
    queries, image = some_images(6, 0, high, shape), some_images(40, 1, high, shape)
    places, distances = nearest_images(queries, image, count)
    for query, place, distance in zip(queries, places, distances, strict=True):
        gaps = query.astype(float)[None] - image.astype(float)
        expected = np.sqrt(np.mean(gaps**2, axis=(1, 2, 3)))
        np.testing.assert_allclose(distance, np.sort(expected)[:count], rtol=1e-12)
        np.testing.assert_array_equal(
            place, np.argsort(expected, kind="stable")[:count]
        )


def test_nearest_of_an_image_that_is_there_is_itself_and_exactly_so():
    image = some_images(30, 0, shape=(32, 32, 3))
    places, distances = nearest_images(image, image, 2)
    assert places[:, 0].tolist() == list(range(30))
    assert (distances[:, 0] == 0).all()
    assert (distances[:, 1] > 0).all()


@pytest.fixture(scope="module")
def ended(digits_run):
    found = restore(MGAN, digits_run)
    trainer, state = found.program.trainer, found.state
    return trainer, state


@pytest.fixture(scope="module")
def gallery(digits_run):
    with np.load(digits_run / "gallery.npz") as arrays:
        return dict(arrays)


def test_gallery_of_a_run_has_the_shapes_that_are_promised(gallery):
    assert gallery["interpolation"].shape == (10, BETWEEN, 8, 8, 1)
    assert gallery["neighbours"].shape == (10, 1 + NEIGHBOURS, 8, 8, 1)
    assert gallery["sample_distance"].shape == (COMPARED,)
    assert gallery["real_distance"].shape == (COMPARED,)
    assert gallery["confusion"].shape == (10, 10)
    for name in ("interpolation", "neighbours"):
        assert gallery[name].dtype == np.uint8


def test_neighbours_are_training_images_by_rising_distance(gallery, ended):
    trainer, _ = ended
    known = {image.tobytes() for image in trainer.inputs.image}
    for k, (sample, *neighbours) in enumerate(gallery["neighbours"]):
        assert all(image.tobytes() in known for image in neighbours)
        gaps = np.array(neighbours, float) - sample.astype(float)[None]
        distances = np.sqrt(np.mean(gaps**2, axis=(1, 2, 3)))
        assert (np.diff(distances) >= 0).all()
        assert distances[0] == pytest.approx(gallery["sample_distance"][k])


def test_rows_of_the_confusion_are_shares(gallery, ended):
    np.testing.assert_allclose(gallery["confusion"].sum(axis=1), 1.0, rtol=1e-12)
    assert (gallery["confusion"] >= 0).all()
    np.testing.assert_array_equal(confusion(*ended), gallery["confusion"])


@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_interpolation_ends_at_the_images_of_both_noises(ended, monkeypatch, noise):
    trainer, state = ended
    trainer = dataclasses.replace(
        trainer, config=replace_fields(trainer.config, noise=noise)
    )
    ends = jnp.asarray([[-0.5] * 8, [0.25] * 8])
    monkeypatch.setattr("experiments.mgan.gallery.draw_noise", lambda *_: ends)
    found = interpolate(trainer, state)
    _, model_state = trainer.made_by(state, averaged=True)
    values, _ = trainer.players.generators.apply(
        state.average["network"], model_state, ends
    )
    expected = np.swapaxes(to_bytes(np.asarray(values)), 0, 1)
    # To a step of rounding.
    for place, end in ((0, 0), (-1, 1)):
        gaps = found[:, place].astype(int) - expected[:, end].astype(int)
        assert np.abs(gaps).max() <= 1
    assert (found[:, 0] != found[:, -1]).any()


def test_interpolation_of_normal_noise_keeps_its_length(ended, monkeypatch):
    trainer, state = ended
    network, seen = trainer.players.generators, []

    def apply(params, model_state, noise):
        seen.append(np.asarray(noise))
        return network.apply(params, model_state, noise)

    players = trainer.players._replace(generators=network._replace(apply=apply))
    trainer = dataclasses.replace(
        trainer, config=replace_fields(trainer.config, noise="normal"), players=players
    )
    ends = jnp.eye(8)[:2]
    monkeypatch.setattr("experiments.mgan.gallery.draw_noise", lambda *_: ends)
    interpolate(trainer, state)
    assert seen[0].shape == (BETWEEN, 8)
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(seen[0][[0, -1]], ends, atol=1e-6)


def test_gallery_is_a_function_of_the_state(ended, gallery):
    np.testing.assert_array_equal(interpolate(*ended), gallery["interpolation"])
    other = jax.tree.map(lambda leaf: leaf * 2, ended[1].average)
    found = interpolate(ended[0], ended[1]._replace(average=other))
    assert (found != gallery["interpolation"]).any()
