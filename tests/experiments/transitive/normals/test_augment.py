"""Mirrored photographs have mirrored normals, for one key always the same."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.normals.augment import (
    encode_normals,
    mirror_normals,
    vary,
)
from experiments.transitive.normals.codebook import encode
from experiments.transitive.normals.depth import surface_normals
from lars_jax.data.augment import example_keys
from lars_jax.errors import InputError
from tests.experiments.transitive.normals.support import SMALL, plane_depth, unit


@cache
def batch(count=16):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 4, 6, 3), np.uint8)
    normals = random.normal(size=(count, 4, 6, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return images, normals, random.random((count, 4, 6)) < 0.8


def keys(count=16):
    return example_keys(
        jax.random.key(0), jnp.arange(count), jnp.zeros(count, jnp.int32)
    )


def test_half_are_mirrored_with_their_normals_and_masks():
    images, normals, valid = batch()
    found = [np.asarray(one) for one in vary(images, normals, valid, keys())]
    mirrored = 0
    for i in range(16):
        turned = (found[0][i] == images[i, :, ::-1]).all()
        mirrored += turned
        step = -1 if turned else 1
        np.testing.assert_array_equal(found[0][i], images[i, :, ::step])
        expected = normals[i, :, ::step] * np.array([step, 1, 1], np.float32)
        np.testing.assert_array_equal(found[1][i], expected)
        np.testing.assert_array_equal(found[2][i], valid[i, :, ::step])
    assert 4 <= mirrored <= 12


def test_an_example_varies_by_its_key_alone():
    images, normals, valid = batch()
    whole = vary(images, normals, valid, keys(), strength=0.3)
    part = vary(images[5:9], normals[5:9], valid[5:9], keys()[5:9], strength=0.3)
    for one, some in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[5:9], some)


def test_colours_are_scaled_within_bounds_and_normals_are_left():
    images, normals, valid = batch()
    found, same, _ = vary(images, normals, valid, keys(), flip=False, strength=0.2)
    np.testing.assert_array_equal(same, normals)
    low, high = images * np.exp(-0.2), np.minimum(images * np.exp(0.2), 255)
    assert ((found >= low - 1e-3) & (found <= high + 1e-3)).all()
    unclipped = (np.asarray(found) < 254.9) & (images > 0)
    factor = np.where(unclipped, np.asarray(found) / np.maximum(images, 1), np.nan)
    # One factor for each channel of an image, not the same for all.
    assert np.nanstd(factor, axis=(1, 2)).max() < 1e-5
    assert np.nanstd(factor) > 0.05
    plain, _, _ = vary(images, normals, valid, keys(), flip=False)
    np.testing.assert_array_equal(plain, images)


def test_mirroring_twice_is_nothing():
    normals = batch()[1]
    twice = mirror_normals(mirror_normals(jnp.asarray(normals)))
    np.testing.assert_array_equal(twice, normals)


def test_mirrored_normals_are_those_of_the_mirrored_room():
    depth = plane_depth(unit(0.5, -0.2, -1), 3.0)
    there = unit(-0.5, -0.2, -1)
    normals, _ = surface_normals(depth.astype(np.float32), SMALL)
    found = mirror_normals(jnp.asarray(normals))
    np.testing.assert_allclose(found, np.broadcast_to(there, found.shape), atol=1e-3)


def test_labels_on_the_device_are_those_of_the_host():
    normals, words = batch()[1], batch()[1][0, :, :2].reshape(-1, 3)
    np.testing.assert_array_equal(
        jax.jit(encode_normals)(normals, words), encode(normals, words)
    )


def test_other_shapes_are_refused():
    images, normals, valid = batch()
    for parts in ((images[..., :2], normals, valid), (images, normals[:, 1:], valid)):
        with pytest.raises(InputError, match=r"\[B, H, W, 3\]"):
            vary(*parts, keys())
    with pytest.raises(InputError, match="at least 0"):
        vary(images, normals, valid, keys(), strength=-1.0)
