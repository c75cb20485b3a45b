import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lars_jax.data import (
    augment,
    center_crop,
    example_keys,
    jitter_colours,
    normalize,
    resized_crops,
)
from lars_jax.data.augment import _window, _window_by_products
from lars_jax.errors import InputError

vary = jax.jit(augment, static_argnames=("size", "padding", "flip"))


def distinct_images(count, side, channels=1):
    """Images without a zero pixel, no two of whose windows are equal."""
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (count, side, side, channels), np.uint8)


def keys_of(count, seed=0, epoch=0):
    index = jnp.arange(count, dtype=jnp.int32)
    return example_keys(jax.random.key(seed), index, jnp.full(count, epoch, jnp.int32))


def windows(image, size, padding, flip):
    """Every image that the augmentation may return, by place and mirroring."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = range(padded.shape[0] - size + 1)
    for top in places:
        for left in places:
            window = padded[top : top + size, left : left + size]
            yield (top, left, False), window
            if flip:
                yield (top, left, True), window[:, ::-1]


def draws(images, result, size, padding, flip):
    """Which window of its image each result is, found by comparison."""
    found = []
    for image, got in zip(images, np.asarray(result), strict=True):
        equal = [
            draw
            for draw, window in windows(image, size, padding, flip)
            if np.array_equal(window, got)
        ]
        assert len(equal) == 1
        found.append(equal[0])
    return found


@pytest.mark.parametrize(("size", "padding"), [(8, 2), (5, 0)])
def test_each_result_is_a_window_of_its_padded_image(size, padding):
    images = distinct_images(64, 8)
    result = vary(
        jnp.asarray(images), keys_of(64), size=size, padding=padding, flip=True
    )
    assert result.dtype == jnp.uint8
    draws(images, result, size, padding, flip=True)


def test_every_place_and_mirroring_is_drawn_equally_often():
    images = np.tile(distinct_images(1, 4), (1800, 1, 1, 1))
    result = vary(jnp.asarray(images), keys_of(1800), size=4, padding=1, flip=True)
    found = draws(images, result, 4, 1, flip=True)
    counts = np.unique(np.array(found), axis=0, return_counts=True)[1]
    # 9 places, each mirrored or not: binomial(1800, 1/18), standard deviation 9.7.
    assert len(counts) == 18
    assert np.abs(counts - 100).max() < 4.5 * 9.7


def test_without_flip_nothing_is_mirrored():
    images = distinct_images(64, 8, channels=3)
    result = vary(jnp.asarray(images), keys_of(64), size=8, padding=1, flip=False)
    assert not any(mirrored for *_, mirrored in draws(images, result, 8, 1, flip=True))


def test_without_room_and_flip_nothing_changes():
    images = distinct_images(64, 8)
    result = vary(jnp.asarray(images), keys_of(64), size=8, padding=0, flip=False)
    np.testing.assert_array_equal(result, images)


def test_variation_depends_on_no_batch_size_place_or_number_of_devices():
    images = jnp.asarray(distinct_images(64, 8))
    options = {"size": 8, "padding": 2, "flip": True}
    whole = np.asarray(vary(images, keys_of(64), **options))
    part = vary(images[8:12], keys_of(64)[8:12], **options)
    np.testing.assert_array_equal(part, whole[8:12])
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    sharded = vary(*jax.device_put((images, keys_of(64)), spread), **options)
    assert len(sharded.sharding.device_set) == 8
    np.testing.assert_array_equal(sharded, whole)


def test_variation_changes_with_seed_epoch_and_example():
    images = jnp.asarray(np.tile(distinct_images(1, 8), (64, 1, 1, 1)))
    drawn = [
        np.asarray(vary(images, keys, size=8, padding=2, flip=True))
        for keys in (keys_of(64), keys_of(64, seed=1), keys_of(64, epoch=1))
    ]
    assert len({result.tobytes() for result in drawn}) == 3
    # Fifty are possible, of which 64 draws find 36 in the mean.
    assert len({image.tobytes() for image in drawn[0]}) > 25


def test_example_key_is_folded_from_epoch_then_index():
    key = jax.random.key(3)
    keys = example_keys(key, jnp.array([9, 4], jnp.int32), jnp.array([0, 2], jnp.int32))
    expected = jax.random.fold_in(jax.random.fold_in(key, 2), 4)
    assert jax.random.key_data(keys)[1].tolist() == (
        jax.random.key_data(expected).tolist()
    )


@pytest.mark.parametrize(("size", "padding"), [(11, 1), (4, -1), (0, 0)])
def test_crop_that_does_not_fit_is_refused(size, padding):
    images = jnp.zeros((1, 8, 8, 1), jnp.uint8)
    with pytest.raises(InputError, match="fits into the padded image"):
        vary(images, keys_of(1), size=size, padding=padding, flip=False)


def test_center_crop_leaves_the_odd_pixel_at_the_lower_right():
    image = np.arange(15).reshape(1, 3, 5, 1)
    assert center_crop(image, 2)[0, ..., 0].tolist() == [[1, 2], [6, 7]]
    assert center_crop(jnp.asarray(image), 3)[0, :, 0, 0].tolist() == [1, 6, 11]


@pytest.mark.parametrize("size", [0, 4])
def test_center_crop_beyond_the_image_is_refused(size):
    with pytest.raises(InputError, match="fits into the image"):
        center_crop(np.zeros((1, 3, 5, 1)), size)


def test_normalize_equals_a_float64_oracle():
    images = distinct_images(3, 4, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = normalize(jnp.asarray(images), mean, std)
    assert found.dtype == jnp.float32
    expected = (images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_normalize_rounds_once_to_the_type_asked_for():
    images = jnp.asarray(distinct_images(3, 4, 1))
    half = normalize(images, (0.3,), (0.4,), jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    full = normalize(images, (0.3,), (0.4,))
    np.testing.assert_array_equal(
        half.astype(jnp.float32), full.astype(jnp.bfloat16).astype(jnp.float32)
    )


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (1.0,)), ((0.5,) * 3, (1, 1, 0))])
def test_normalize_refuses_statistics_of_another_kind_of_image(mean, std):
    with pytest.raises(InputError, match="each of 3 channels"):
        normalize(jnp.zeros((1, 2, 2, 3), jnp.uint8), mean, std)


@pytest.mark.slow
def test_whole_parts_are_resized_images_or_their_mirrors():
    images = jnp.asarray(distinct_images(16, 12, 3))
    found = resized_crops(images, keys_of(16), size=6, least=1.0, flip=True, stretch=0)
    whole = jax.image.resize(images.astype(jnp.float32), (16, 6, 6, 3), "linear")
    same = [np.allclose(a, b, atol=1e-3) for a, b in zip(found, whole, strict=True)]
    mirrored = [
        np.allclose(a, b[:, ::-1], atol=1e-3) for a, b in zip(found, whole, strict=True)
    ]
    assert np.logical_xor(same, mirrored).all()
    assert 0 < sum(same) < 16


@pytest.mark.slow
def test_a_part_of_a_ramp_has_its_share_of_the_slope():
    ramp = jnp.arange(64, dtype=jnp.uint8)[None, None, :, None]
    images = jnp.broadcast_to(ramp, (400, 64, 64, 1))
    found = resized_crops(
        images, keys_of(400), size=32, least=0.25, flip=False, stretch=0
    )
    # Away from the borders, where pixels beyond the part count as its own.
    share = np.asarray(found[:, 16, 20, 0] - found[:, 16, 12, 0]) / (8 * 2)
    assert 0.25 - 1e-3 <= share.min() < 0.3
    assert 0.95 < share.max() <= 1 + 1e-3
    np.testing.assert_allclose(share.mean(), 0.625, atol=0.05)


@pytest.mark.parametrize("least", [0, -1, 1.5])
def test_part_of_no_share_is_refused(least):
    with pytest.raises(InputError, match="at most 1 of an image's sides"):
        resized_crops(
            jnp.asarray(distinct_images(1, 8)),
            keys_of(1),
            size=8,
            least=least,
            flip=False,
        )


def test_colours_change_as_a_float64_oracle_says():
    images = np.random.default_rng(0).uniform(80, 120, (5, 4, 4, 3))
    found = jitter_colours(jnp.asarray(images, jnp.float32), keys_of(5), strength=0.4)
    for image, key, one in zip(images, keys_of(5), found, strict=True):
        saturation, contrast, brightness = np.exp(
            0.4 * np.asarray(jax.random.uniform(key, (3,), jnp.float32, -1), np.float64)
        )
        grey = image.mean(axis=-1, keepdims=True)
        image = grey + saturation * (image - grey)
        image = image.mean() + contrast * (image - image.mean())
        np.testing.assert_allclose(one, np.clip(brightness * image, 0, 255), rtol=1e-5)
    unchanged = jitter_colours(
        jnp.asarray(images, jnp.float32), keys_of(5), strength=0.0
    )
    np.testing.assert_allclose(unchanged, images, rtol=1e-6)


@pytest.mark.parametrize(("size", "padding"), [(8, 2), (5, 0)])
def test_form_for_tpus_cuts_the_same_windows(size, padding):
    (image,) = distinct_images(1, 8, 3)
    forms = [
        jax.jit(partial(form, size=size, padding=padding))
        for form in (_window, _window_by_products)
    ]
    places = range(8 + 2 * padding - size + 1)
    for place in itertools.product(places, places):
        plain, products = (form(image, np.array(place, np.int32)) for form in forms)
        assert products.dtype == jnp.uint8
        np.testing.assert_array_equal(plain, products)
