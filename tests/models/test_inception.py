"""Inception against the programs that others measure with, on drawn weights.

The published weights are not here; what their two readers compute with weights that
anyone can draw is, in `tests/golden/inception.json`, with the recipe.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.models import inception, inception_images, inception_weights
from tests.models.drawn_inception import GOLDEN, drawn_arrays, golden_images, zeros


@cache
def measured(resize):
    weights = inception_weights(drawn_arrays())

    @jax.jit
    def forward(images):
        prepared = inception_images(images, resize=resize)
        return inception().apply(*weights, prepared)[0]

    features, logits = forward(golden_images())
    return {"features": np.asarray(features), "logits": np.asarray(logits)}


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["legacy", "half_pixel"])
@pytest.mark.parametrize(("output", "stride"), [("features", 128), ("logits", 63)])
def test_outputs_are_those_of_the_programs_that_others_use(resize, output, stride):
    ours, theirs = measured(resize)[output], GOLDEN[resize][output]
    assert ours.shape == (2, {"features": 2048, "logits": 1008}[output])
    np.testing.assert_allclose(ours[:, ::stride], theirs["values"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(ours.mean(dtype=float), theirs["mean"], atol=1e-6)
    np.testing.assert_allclose(ours.std(dtype=float), theirs["std"], atol=1e-6)


def test_legacy_resizing_starts_at_the_corner_and_repeats_the_last_pixel():
    row = np.arange(32, dtype=np.float32)
    images = np.tile(row.reshape(1, 1, 32, 1), (1, 32, 1, 3))
    found = np.asarray(inception_images(jnp.asarray(images))) * 128 + 128
    expected = np.minimum(np.arange(299) * 32 / 299, 31)
    np.testing.assert_allclose(found[0, 150, :, 1], expected, atol=1e-4)
    turned = inception_images(jnp.asarray(images.transpose(0, 2, 1, 3)))
    np.testing.assert_allclose(found[0, 150, :, 1], turned[0, :, 7, 2] * 128 + 128)


def test_half_pixel_resizing_is_centred():
    row = np.arange(32, dtype=np.float32)
    images = np.tile(row.reshape(1, 1, 32, 1), (1, 32, 1, 3))
    found = inception_images(jnp.asarray(images), resize="half_pixel")
    pixels = (np.asarray(found)[0, 150, :, 1] + 1) * 127.5
    expected = np.clip((np.arange(299) + 0.5) * 32 / 299 - 0.5, 0, 31)
    np.testing.assert_allclose(pixels, expected, atol=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_of_the_right_size_are_only_scaled(kind):
    images = np.random.RandomState(1).randint(0, 256, (1, 299, 299, 3)).astype(kind)
    legacy = inception_images(jnp.asarray(images))
    np.testing.assert_array_equal(legacy, (images.astype(np.float32) - 128) / 128)
    centred = inception_images(jnp.asarray(images), resize="half_pixel")
    np.testing.assert_allclose(centred, 2 * images.astype(float) / 255 - 1, atol=1e-6)


def test_kernels_are_turned_to_channels_last():
    arrays = zeros()
    arrays["Mixed_6b.branch7x7_2.conv.weight"][5, 4, 0, 6] = 1
    arrays["fc.weight"][1007, 3] = 2
    arrays["Mixed_7c.branch1x1.bn.running_var"][9] = 3
    params, state = inception_weights(arrays)
    kernel = params["Mixed_6b"]["branch7x7_2"]["conv"]["kernel"]
    assert kernel.shape == (1, 7, 128, 128)
    assert kernel[0, 6, 4, 5] == 1
    assert params["fc"]["kernel"][3, 1007] == 2
    stats = state["batch_stats"]["Mixed_7c"]["branch1x1"]["bn"]
    assert stats["var"][9] == 3
    assert list(params["fc"]) == ["kernel"]


def test_arrays_that_the_network_does_not_use_may_be_there():
    unused = {
        "fc.bias": np.zeros(1008, np.float32),
        "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), np.int64),
        "AuxLogits.fc.weight": np.zeros((1000, 768), np.float32),
    }
    found, plain = inception_weights(zeros() | unused), inception_weights(zeros())
    assert jax.tree.structure(found) == jax.tree.structure(plain)


CHANGES = [
    (
        {"Mixed_5b.branch1x1.conv.weight": None, "fc.weight": None},
        r"2 missing \(Mixed_5b.branch1x1.conv.weight, fc.weight\)",
    ),
    (
        {
            "fc.weight": np.zeros((1000, 2048), np.float32),
            "Conv2d_1a_3x3.bn.bias": None,
            "layer1.0.conv1.weight": np.zeros(1, np.float32),
        },
        r"1 missing.*; 1 of another .*fc.weight float32\[1000, 2048\] for \[1008.*"
        r"; 1 unknown \(layer1.0.conv1.weight\)",
    ),
    ({"fc.weight": np.zeros((1008, 2048), int)}, r"fc.weight int64\[1008, 2048\]"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_other_weights_are_refused_in_one_line(change, words):
    arrays = {k: v for k, v in (zeros() | change).items() if v is not None}
    with pytest.raises(InputError, match=words) as caught:
        inception_weights(arrays)
    assert "\n" not in str(caught.value)


def test_a_file_without_any_is_refused_with_the_first_of_them():
    with pytest.raises(InputError, match=r"471 missing \(.*, \.\.\.\)"):
        inception_weights({})


@pytest.mark.parametrize(
    ("images", "train", "words"),
    [
        (jnp.zeros((1, 32, 32, 3)), False, "inception_images"),
        (jnp.zeros((1, 299, 299, 3), jnp.uint8), False, "got uint8"),
        (jnp.zeros((1, 299, 299, 3)), True, "train=False"),
    ],
)
def test_other_uses_are_refused(images, train, words):
    with pytest.raises(InputError, match=words):
        inception().apply({}, {}, images, train=train)


@pytest.mark.parametrize(
    ("shape", "resize", "words"),
    [
        ((32, 32, 3), "legacy", "channels last"),
        ((1, 32, 32, 1), "legacy", "colour"),
        ((1, 32, 32, 3), "bicubic", "half_pixel"),
    ],
)
def test_images_and_ways_that_do_not_fit_are_refused(shape, resize, words):
    with pytest.raises(InputError, match=words):
        inception_images(jnp.zeros(shape), resize=resize)
