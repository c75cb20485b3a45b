from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.models import layers
from lars_jax.models.layers import (
    HE_FAN_IN,
    HE_FAN_OUT,
    Conv,
    is_small,
    local_response_norm,
)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def lrn_oracle(x):
    x = np.asarray(x, np.float64)
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        window = x[..., max(0, c - 2) : c + 3]
        y[..., c] = x[..., c] / (1 + 1e-4 / 5 * (window**2).sum(-1)) ** 0.75
    return y


@pytest.fixture(params=["_by_views", "_by_product"])
def form(request, monkeypatch):
    """Sum the energy of neighbours in the form of one platform or of another."""
    monkeypatch.setattr(layers, "_windowed", getattr(layers, request.param))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("channels", [1, 4, 9])
def test_response_norm_equals_the_oracle(channels, scale):
    x = scale * normal(2, 3, 3, channels)
    actual = local_response_norm(jnp.asarray(x))
    np.testing.assert_allclose(actual, lrn_oracle(x), rtol=2e-6)


def test_response_norm_of_zeros_is_zero_with_gradient_one():
    zeros = jnp.zeros((1, 1, 1, 4))
    gradient = jax.grad(lambda x: jnp.sum(local_response_norm(x)))(zeros)
    np.testing.assert_array_equal(local_response_norm(zeros), 0.0)
    np.testing.assert_array_equal(gradient, 1.0)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("channels", [1, 4, 9])
def test_gradient_of_response_norm_is_the_slope_of_the_oracle(channels):
    x, g = 100.0 * normal(3, channels), normal(3, channels).astype(np.float64)[::-1]
    [gradient] = jax.vjp(local_response_norm, jnp.asarray(x))[1](jnp.asarray(g, "f"))
    slope = np.empty_like(g)
    for place in np.ndindex(*g.shape):
        step = np.zeros_like(g)
        step[place] = 1e-3
        rise = lrn_oracle(x + step) - lrn_oracle(x - step)
        slope[place] = (g * rise).sum() / 2e-3
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


def test_response_norm_keeps_bfloat16_and_computes_in_float32():
    x = jnp.asarray(100.0 * normal(2, 3, 3, 8), jnp.bfloat16)
    y = local_response_norm(x)
    assert y.dtype == jnp.bfloat16
    expected = lrn_oracle(x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=4e-3)


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_equal_the_grouped_primitive(groups):
    x = jnp.asarray(normal(2, 7, 7, 6))
    conv = Conv(8, 3, stride=2, padding=1, groups=groups)
    variables: Any = conv.init(jax.random.key(0), x)
    actual: Any = conv.apply(variables, x)
    expected = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (2, 2),
        [(1, 1), (1, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_convolution_has_float32_parameters():
    x = jnp.ones((1, 4, 4, 2))
    conv = Conv(3, 3, dtype=jnp.bfloat16)
    variables = conv.init(jax.random.key(0), x)
    leaves = jax.tree.leaves(variables)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    y: Any = conv.apply(variables, x)
    assert y.dtype == jnp.bfloat16


def test_bias_is_added_and_can_be_left_out():
    x = jnp.zeros((1, 4, 4, 2))
    conv = Conv(3, 3, bias_init=jax.nn.initializers.constant(0.5))
    y, _ = conv.init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y, 0.5)
    without = Conv(3, 3, bias_init=None).init(jax.random.key(0), x)
    assert set(without["params"]) == {"kernel"}


@pytest.mark.parametrize(
    ("initializer", "fan"), [(HE_FAN_IN, 3 * 3 * 64), (HE_FAN_OUT, 3 * 3 * 128)]
)
def test_he_deviation(initializer, fan, key):
    kernel = initializer(key, (3, 3, 64, 128), jnp.float32)
    np.testing.assert_allclose(jnp.std(kernel), np.sqrt(2 / fan), rtol=0.01)


@pytest.mark.parametrize(
    ("height", "width", "small"), [(64, 64, True), (65, 32, False), (8, 8, True)]
)
def test_small_form_is_for_images_up_to_64_pixels(height, width, small):
    assert is_small(jnp.zeros((1, height, width, 3))) is small


@pytest.mark.parametrize(
    "images", [jnp.zeros((8, 8, 3)), jnp.zeros((1, 8, 8, 3), jnp.uint8)]
)
def test_inputs_that_are_not_floating_images_are_refused(images):
    with pytest.raises(InputError, match="normalise or reshape them first"):
        is_small(images)
