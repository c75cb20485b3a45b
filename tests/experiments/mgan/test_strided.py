"""Convolutions in blocks equal those of XLA, forward and in both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.strided import double, halve


def plain_halve(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def plain_double(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")


@pytest.mark.parametrize("shape", [(3, 6), (1, 4)], ids=str)
@pytest.mark.parametrize(
    ("found", "expected"),
    [(halve, plain_halve), (double, plain_double)],
    ids=["halve", "double"],
)
def test_blocks_equal_strides(found, expected, shape, key):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (2, *shape, 3))
    kernel = jax.random.normal(keys[1], (5, 5, 3, 4))
    size = jax.eval_shape(expected, x, kernel).shape
    pull = jax.random.normal(keys[2], size)

    def everything(convolution):
        @jax.jit
        def run(x, kernel):
            y, pulled = jax.vjp(convolution, x, kernel)
            return y, pulled(pull)

        return run(x, kernel)

    one, other = everything(found), everything(expected)
    assert one[0].shape == size
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one, other
    )
    assert np.abs(jnp.asarray(one[0])).max() > 0.1
