"""Convolutions' gradients are JAX's own in a form that is fast; memory is kept."""

import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.cpu import FORM, barrier, convolve

FAULTS = """
import ctypes, resource, sys
from lars_jax.cpu import keep_memory

if "kept" in sys.argv:
    keep_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
size = 64 * 2**20

def touch():
    block = ctypes.c_void_p(library.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

first = touch()
print(max(touch() for _ in range(4)) - first)
"""
"""Says how many fresh pages the system gave for a block that was freed before."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the GNU C library")
def test_freed_memory_is_kept_where_asked():
    found = {
        word: int(subprocess.check_output([sys.executable, "-c", FAULTS, word]))
        for word in ("kept", "given back")
    }
    # 32 are of 2 MiB, the largest pages.
    assert found["given back"] >= 4 * 32
    assert found["kept"] < 32


def derived(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=FORM
    )


# Strides that leave pixels over and that do not, and more padding than half a kernel.
@pytest.mark.parametrize(
    ("side", "size", "stride", "padding", "dtype"),
    [
        pytest.param(8, 3, 2, 1, "float32", marks=pytest.mark.slow),
        (9, 3, 2, 1, "bfloat16"),
        pytest.param(8, 1, 2, 0, "float32", marks=pytest.mark.slow),
        (22, 11, 4, 2, "float32"),
        pytest.param(5, 3, 1, 2, "float32", marks=pytest.mark.slow),
        # Of many pixels, which take another way.
        (17, 3, 2, 1, "float32"),
        pytest.param(17, 3, 2, 1, "bfloat16", marks=pytest.mark.slow),
        pytest.param(9, 1, 1, 0, "float32", marks=pytest.mark.slow),
        # Of images smaller than a window, or a result that is: all are products.
        (2, 6, 1, 3, "float32"),
        (4, 5, 2, 2, "float32"),
        pytest.param(4, 5, 2, 2, "bfloat16", marks=pytest.mark.slow),
        pytest.param(1, 3, 1, 1, "float32", marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_that_jax_derives(key, side, size, stride, padding, dtype):
    check(key, (side, side + 3, 3), size, stride, padding, dtype)


@pytest.mark.parametrize(
    ("side", "size", "stride"),
    [(8, 3, 1), pytest.param(28, 7, 4, marks=pytest.mark.slow)],
)
def test_grey_images_give_what_others_do(key, side, size, stride):
    check(key, (side, side + 3, 1), size, stride, size // 2, "float32")


def check(key, image, size, stride, padding, dtype):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (44, *image), dtype)
    kernel = jax.random.normal(keys[1], (size, size, image[-1], 5), dtype)

    shape = jax.eval_shape(lambda: derived(x, kernel, stride, padding)).shape
    g = jax.random.normal(keys[2], shape, dtype)

    def results(function):
        found, pull = jax.vjp(lambda x, k: function(x, k, stride, padding), x, kernel)
        return found, *pull(g)

    tolerance = {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
    for ours, theirs in zip(results(convolve), results(derived), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        ours, theirs = (np.asarray(a, np.float32) for a in (ours, theirs))
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def test_convolutions_of_a_loop_have_the_form_that_is_fast():
    def loss(kernel, x):
        y = convolve(jax.nn.relu(convolve(x, kernel, 2, 1)), kernel, 1, 1)
        return jnp.sum(jnp.square(y))

    def summed(kernel, xs):
        def add(total, x):
            return total + jax.grad(loss)(kernel, x), None

        return jax.lax.scan(add, jnp.zeros_like(kernel), xs)[0]

    lowered = jax.jit(summed).lower(jnp.ones((3, 3, 4, 4)), jnp.ones((2, 5, 8, 8, 4)))
    forms = [
        line.split("dim_numbers = ")[1].split(",  window")[0].split(", window")[0]
        for line in lowered.as_text().splitlines()
        if "stablehlo.convolution" in line
    ]
    assert len(forms) == 5
    assert set(forms) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}


def convolutions(function, platform, side=9):
    """Return the convolutions of a gradient as another machine would compile them."""

    def loss(x, kernel):
        return jnp.sum(jnp.square(function(jax.nn.relu(x), kernel, 2, 1)))

    x, kernel = jnp.ones((2, side, side, 3)), jnp.ones((3, 3, 3, 4))
    lowered = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    text = lowered.lower(lowering_platforms=(platform,)).as_text()
    forms = [
        line.split("dim_numbers = ")[1].split("} :")[0]
        for line in text.splitlines()
        if "stablehlo.convolution" in line
    ]
    return sorted(forms), "optimization_barrier" in text


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_have_the_form_that_jax_derives(platform):
    def ours(x, kernel, stride, padding):
        return convolve(barrier(x), kernel, stride, padding)

    found, kept = convolutions(ours, platform)
    assert not kept
    assert found == convolutions(derived, platform)[0]
    here, kept = convolutions(ours, "cpu")
    assert kept
    assert here != found


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_products_of_patches_are_for_cpus_alone(platform):
    small = 2
    found, _ = convolutions(convolve, platform, small)
    assert found == convolutions(derived, platform, small)[0]
    assert len(found) == 3
    assert len(convolutions(convolve, "cpu", small)[0]) == 1
