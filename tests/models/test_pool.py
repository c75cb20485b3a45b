import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lars_jax.models.pool import cover_padding, max_pool
from tests.cases import mostly_slow

WINDOWS = [
    (2, 2, ((0, 0), (0, 0))),
    (3, 2, ((0, 0), (0, 0))),
    (3, 2, ((1, 1), (1, 1))),
    (3, 2, ((0, 1), (0, 2))),
    (3, 1, ((1, 1), (1, 1))),
    (1, 2, ((0, 0), (0, 0))),
]


def images(*shape, dtype=np.float32):
    """Return images with many equal pixels."""
    found = np.random.default_rng(0).integers(-3, 4, size=shape)
    return jnp.asarray(found, dtype)


def flax_pool(x, size, stride, padding):
    return nn.max_pool(x, (size, size), (stride, stride), padding)


CASES = {
    "-".join(map(str, case)): case
    for window in WINDOWS
    for rows, columns in ((8, 8), (7, 10), (3, 5))
    for dtype in ("float32", "bfloat16")
    for case in [(*window, rows, columns, dtype)]
}
"""Each window meets images that it covers and that it does not, in both types."""

QUICK = [name for name in CASES if name.endswith("-7-10-float32")]


@pytest.mark.parametrize(
    ("size", "stride", "padding", "rows", "columns", "dtype"),
    mostly_slow(CASES, [*QUICK, next(reversed(CASES))]),
)
def test_values_and_gradients_are_those_of_flax(
    size, stride, padding, rows, columns, dtype
):
    @jax.jit
    def both(x, g):
        found = []
        for pool in (max_pool, flax_pool):
            y, gradient = jax.vjp(lambda x, p=pool: p(x, size, stride, padding), x)
            found.append((y, gradient(g)[0]))
        return found

    x = images(2, rows, columns, 3, dtype=dtype)
    # Small integers, whose sums no order of adding changes.
    shape = jax.eval_shape(lambda x: flax_pool(x, size, stride, padding), x).shape
    ours, theirs = both(x, images(*shape, dtype=dtype))
    for actual, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert ours[1].dtype == x.dtype


def test_first_of_equal_maxima_has_the_gradient():
    x = jnp.array([[1.0, 4.0], [4.0, 4.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: 3.0 * jnp.sum(max_pool(x, 2, 2)))(x)
    np.testing.assert_array_equal(gradient.ravel(), [0.0, 3.0, 0.0, 0.0])


@pytest.mark.parametrize("place", range(9))
def test_nan_is_not_hidden(place):
    x = jnp.zeros(9).at[place].set(jnp.nan).reshape(1, 3, 3, 1)
    assert jnp.isnan(max_pool(x, 3, 2)).all()


def pool_oracle(x):
    """Caffe: as many windows as needed to see every pixel."""
    windows = max(int(np.ceil((x.shape[1] - 3) / 2)) + 1, 1)
    starts = [2 * i for i in range(windows)]
    rows = [[x[:, r : r + 3, c : c + 3].max((1, 2)) for c in starts] for r in starts]
    return np.stack([np.stack(row, 1) for row in rows], 1)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 8, 55])
def test_windows_over_the_edge_see_every_pixel_as_in_caffe(pixels):
    x = images(1, pixels, pixels, 2)
    actual = max_pool(x, 3, 2, cover_padding(x, 3, 2))
    np.testing.assert_array_equal(actual, pool_oracle(np.asarray(x)))


@pytest.mark.parametrize(
    ("platform", "scatters"), [("cpu", False), ("cuda", False), ("tpu", True)]
)
def test_only_tpus_scatter_in_the_backward_pass(platform, scatters):
    def loss(x):
        return jnp.sum(max_pool(x, 3, 2) ** 2)

    x = jax.ShapeDtypeStruct((1, 9, 9, 2), jnp.float32)
    lowered = jax.jit(jax.grad(loss)).trace(x).lower(lowering_platforms=(platform,))
    assert ("scatter" in lowered.as_text()) == scatters
