"""What the end of a game of images is looked at by."""

import copy

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.gallery import (
    BETWEEN,
    COMPARED,
    NEIGHBOURS,
    interpolate,
    nearest_images,
)
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
def gallery(digits_run):
    with np.load(digits_run / "gallery.npz") as arrays:
        return dict(arrays)


@pytest.mark.slow
def test_gallery_of_a_run_has_the_shapes_that_are_promised(gallery):
    assert gallery["interpolation"].shape == (3, BETWEEN, 8, 8, 1)
    assert gallery["neighbours"].shape == (3, 1 + NEIGHBOURS, 8, 8, 1)
    assert gallery["sample_distance"].shape == (COMPARED,)
    assert gallery["real_distance"].shape == (COMPARED,)
    assert gallery["interpolation"].dtype == gallery["neighbours"].dtype == np.uint8
    # Rows of the confusion are shares.
    assert gallery["confusion"].shape == (3, 3)
    np.testing.assert_allclose(gallery["confusion"].sum(axis=1), 1.0, rtol=1e-12)
    assert (gallery["confusion"] >= 0).all()


@pytest.mark.slow
def test_neighbours_are_training_images_by_rising_distance(gallery, digits_end):
    known = {image.tobytes() for image in digits_end.program.inputs.image}
    for k, (sample, *neighbours) in enumerate(gallery["neighbours"]):
        assert all(image.tobytes() in known for image in neighbours)
        gaps = np.array(neighbours, float) - sample.astype(float)[None]
        distances = np.sqrt(np.mean(gaps**2, axis=(1, 2, 3)))
        assert (np.diff(distances) >= 0).all()
        assert distances[0] == pytest.approx(gallery["sample_distance"][k])


@pytest.mark.slow
def test_gallery_is_a_function_of_the_state(gallery, digits_end):
    found = interpolate(digits_end.program, digits_end.state)
    np.testing.assert_array_equal(found, gallery["interpolation"])
    assert (found[:, 0] != found[:, -1]).any()


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_interpolation_goes_from_one_noise_to_the_other(digits_end, monkeypatch, noise):
    trainer, ends, seen = copy.copy(digits_end.program), jnp.eye(8)[:2], []

    def made(trainer, state, noise):
        seen.append(np.asarray(noise))
        return jnp.zeros((len(noise), 3, 8, 8, 1))

    trainer.config = replace_fields(trainer.config, noise=noise)
    monkeypatch.setattr("experiments.mgan.gallery._made", made)
    monkeypatch.setattr("experiments.mgan.gallery.draw_noise", lambda *_: ends)
    interpolate(trainer, digits_end.state)
    (way,) = seen
    assert way.shape == (BETWEEN, 8)
    np.testing.assert_allclose(way[[0, -1]], ends, atol=1e-6)
    lengths = np.linalg.norm(way, axis=1)
    # On a great circle or a straight line.
    middle = 1.0 if noise == "normal" else np.sqrt(0.5)
    assert lengths.min() == pytest.approx(middle, abs=0.01)
