"""FCN-32s: the geometry of Caffe's, scores where they belong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.normals.fcn import FCN, bilinear
from lars_jax.errors import InputError

SMALL = FCN(
    network="small",
    width=0.125,
    height=40,
    length=56,
    border=24,
    cells=3,
    units=32,
    classes=5,
)


def test_full_size_is_the_papers_network():
    network = FCN()
    assert (network.offset, network.positions) == (19, (15, 20))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0)))
    assert params["fc6"]["kernel"].shape == (7, 7, 512, 4096)
    images = jax.ShapeDtypeStruct((1, 480, 640, 3), jnp.uint8)
    scores = jax.eval_shape(network.apply, params, images)
    assert (scores.shape, scores.dtype) == ((1, 480, 640, 40), jnp.float32)


def test_interpolation_is_the_transposed_convolution_that_is_cropped():
    stride, positions, offset, pixels = 4, 3, 3, 11
    x = np.random.default_rng(0).normal(size=positions)
    ramp = 1 - np.abs(np.arange(2 * stride) - (stride - 0.5)) / stride
    whole = np.zeros((positions + 1) * stride)
    for i, value in enumerate(x):
        whole[i * stride : (i + 2) * stride] += value * ramp
    found = bilinear(pixels, positions, stride, offset) @ x
    np.testing.assert_allclose(found, whole[offset : offset + pixels], rtol=1e-5)


def test_interpolation_of_a_constant_is_constant_within_the_first_and_last_centre():
    weights = bilinear(48, 4, 16, 8)
    inner = slice(16 - 8, 3 * 16 + 16 - 8)
    np.testing.assert_allclose(weights.sum(axis=1)[inner], 1.0, rtol=1e-6)


@pytest.fixture(scope="module")
def params():
    drawn = jax.jit(SMALL.init)(jax.random.key(0))
    kernel = jax.random.normal(jax.random.key(1), drawn["score"]["kernel"].shape)
    return drawn | {"score": {"kernel": kernel, "bias": drawn["score"]["bias"]}}


def test_score_of_a_pixel_comes_from_around_it(params):
    images = np.full((1, 40, 56, 3), 128, np.uint8)
    images[0, 6:10, 6:10] = 255
    apply = jax.jit(SMALL.apply)
    plain = apply(params, np.full_like(images, 128))
    moved = np.abs(apply(params, images) - plain)[0].max(axis=-1)
    near, far = moved[:20, :20].mean(), moved[20:, 36:].mean()
    assert near > 3 * far


def test_scores_begin_at_zero_and_dropout_needs_a_key(params):
    drawn = jax.jit(SMALL.init)(jax.random.key(0))
    images = jnp.zeros((1, 40, 56, 3), jnp.uint8)
    assert not np.any(jax.jit(SMALL.apply)(drawn, images))
    dropped = jax.jit(lambda p, key: SMALL.apply(p, images, key=key))
    ends = [dropped(params, jax.random.key(k)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 0


@pytest.mark.parametrize("border", [7, 10])
def test_border_too_small_for_every_pixel_is_refused(border):
    with pytest.raises(InputError, match=f"border must let fc6.* got {border} for"):
        FCN(network="small", height=40, length=56, border=border, cells=3)
