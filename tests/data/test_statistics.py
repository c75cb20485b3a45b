import numpy as np
import pytest

from lars_jax.data import (
    KNOWN_STATISTICS,
    channel_statistics,
    digits_source,
    known_statistics,
    load_source,
    to_arrays,
)
from lars_jax.errors import InputError
from tests.data.support import prepared_directory


def test_statistics_equal_a_float64_oracle():
    image = np.random.default_rng(0).integers(0, 256, (300, 5, 7, 3), np.uint8)
    found = channel_statistics(image)
    values = image.astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, values.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std((0, 1, 2)), rtol=1e-12)


def test_constant_channel_can_be_divided_by():
    image = np.full((3, 2, 2, 1), 51, np.uint8)
    assert channel_statistics(image) == ((0.2,), (1.0,))


def test_known_digits_statistics_are_those_of_the_training_split():
    found = channel_statistics(digits_source("train").image)
    np.testing.assert_allclose(found, KNOWN_STATISTICS["digits"], atol=5e-5)


@pytest.mark.slow
def test_known_cifar10_statistics_are_those_of_the_training_split():
    root = prepared_directory("cifar10")
    arrays = to_arrays(load_source("cifar10", "train", data_dir=root))
    found = channel_statistics(arrays.image)
    np.testing.assert_allclose(found, KNOWN_STATISTICS["cifar10"], atol=5.1e-5)


def test_unknown_data_set_has_no_statistics():
    assert known_statistics("folder:/data") is None
    assert known_statistics("imagenet2012:5.1.0") == KNOWN_STATISTICS["imagenet2012"]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 3, 3, 1), np.float32),
        np.zeros((3, 3, 1), np.uint8),
        np.zeros((0, 3, 3, 1), np.uint8),
    ],
)
def test_statistics_of_anything_but_images_are_refused(image):
    with pytest.raises(InputError, match="at least one pixel"):
        channel_statistics(image)
