"""Gradients of products in bfloat16 that are never rounded to it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lars_jax.models.layers import Conv, Dense

HALF = jnp.bfloat16


@partial(jax.jit, static_argnums=0)
def gradients(layer, x, g):
    """Return gradients of a layer's parameters and input, and what it puts out."""
    params = layer.init(jax.random.key(0), x)
    y, back = jax.vjp(layer.apply, params, x)
    found, dx = back(g)
    return found["params"], dx, y


def drawn(*shape):
    """Return numbers that bfloat16 has."""
    seed = np.random.default_rng(sum(shape))
    return jnp.asarray(seed.normal(size=shape), HALF)


@pytest.mark.parametrize(
    ("stride", "padding", "size", "groups"),
    [
        (2, 1, 3, 1),
        (4, 0, 5, 2),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((1, 1, 3, 1), (2, 3, 7, 1), (2, 0, 1, 1))
        ),
    ],
)
def test_a_convolution_sums_in_float32(stride, padding, size, groups):
    x = drawn(3, 13, 12, 4)
    layer = Conv(6, size, stride, padding, groups, dtype=HALF, wide_gradients=True)
    g = drawn(*jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0].shape)
    found, dx, y = gradients(layer, x, g)

    # The same in float64, of the numbers that bfloat16 has.
    padded = np.pad(np.float64(x), [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)])
    rows, columns = g.shape[1:3]
    own = np.zeros((size, size, 4 // groups, 6))
    for i, j in np.ndindex(size, size):
        seen = padded[
            :, i : i + stride * rows : stride, j : j + stride * columns : stride
        ]
        every = np.einsum("bhwc,bhwf->cf", seen[:, :rows, :columns], np.float64(g))
        width, features = 4 // groups, 6 // groups
        for k in range(groups):
            inputs, outputs = slice(k * width, None), slice(k * features, None)
            own[i, j, :, outputs][:, :features] = every[inputs, outputs][
                :width, :features
            ]
    scale = np.abs(own).max()
    np.testing.assert_allclose(found["kernel"], own, atol=2e-6 * scale)
    bias = np.float64(g).sum((0, 1, 2))
    np.testing.assert_allclose(found["bias"], bias, atol=2e-6 * np.abs(bias).max())

    narrow, narrow_dx, same = gradients(layer.copy(wide_gradients=False), x, g)
    np.testing.assert_array_equal(same, y)
    assert np.abs(narrow["kernel"] - own).max() > 1e-4 * scale
    np.testing.assert_array_equal(narrow_dx, dx)
    assert dx.dtype == HALF


def test_a_linear_layer_sums_in_float32():
    x, g = drawn(64, 20), drawn(64, 5)
    layer = Dense(5, HALF, nn.initializers.normal(1.0), wide_gradients=True)
    found, dx, y = gradients(layer, x, g)
    own = np.einsum("bi,bo->io", np.float64(x), np.float64(g))
    np.testing.assert_allclose(found["kernel"], own, atol=2e-6 * np.abs(own).max())
    bias = np.float64(g).sum(0)
    np.testing.assert_allclose(found["bias"], bias, atol=2e-6 * np.abs(bias).max())
    narrow, narrow_dx, same = gradients(layer.copy(wide_gradients=False), x, g)
    np.testing.assert_array_equal(same, y)
    assert np.abs(narrow["kernel"] - own).max() > 1e-4 * np.abs(own).max()
    np.testing.assert_allclose(np.float32(narrow_dx), np.float32(dx), rtol=2**-7)


def test_a_layer_is_flax_own():
    x = jax.random.normal(jax.random.key(1), (8, 20))
    ours, theirs = (
        layer(5, kernel_init=nn.initializers.normal(1.0)) for layer in (Dense, nn.Dense)
    )
    params = ours.init(jax.random.key(0), x)
    jax.tree.map(
        np.testing.assert_array_equal, params, theirs.init(jax.random.key(0), x)
    )
    np.testing.assert_array_equal(ours.apply(params, x), theirs.apply(params, x))
