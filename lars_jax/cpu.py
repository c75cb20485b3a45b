"""What XLA for CPUs needs to be told; no other back-end needs any of it.

Which it is, is known when a program is lowered: one that is compiled here for the
devices of another machine has none of this. Each entry names what it waits for
upstream, and the measurement by which it can go.
"""

import ctypes
import platform
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Parameters of `mallopt`, by their numbers in the GNU C library's malloc.h."""

# https://github.com/openxla/xla/issues/20440: barriers are expanded before fusion, and
# where fusion computes something twice no barrier is left to stop it. To go when a step
# of ResNet-20 takes no longer without it, with `barrier` still in place.
COMPILER_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
"""Options of `jax.jit` that keep optimisation barriers until after fusion."""


def keep_memory() -> None:
    """Have the memory of one step kept for the next, for the rest of this process.

    Of the GNU C library alone; elsewhere nothing happens. It is to come before JAX
    starts its threads, which then have no heaps of their own.
    """
    # XLA allocates what a step holds when it begins and frees it when it ends. Large
    # blocks go back to the system, which fills their pages with zeros each time: a step
    # of ResNet-8 on digits is 1.6 times as fast without, one of ResNet-20 1.25 times
    # (benchmarks/throughput/allocator.py). To go when it is no faster.
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    # All blocks from one heap, as others are of 64 MiB at most, and none given back.
    library.mallopt(M_ARENA_MAX, 1)
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, -1)


@jax.custom_vjp
def barrier(x: jax.Array) -> jax.Array:
    """Return the same array, which consumers then read and do not compute again.

    >>> print(barrier(jnp.arange(3)))
    [0 1 2]
    """
    # https://github.com/openxla/xla/issues/20440: fusion repeats normalisation and ReLU
    # inside the transpose that the gradient of a kernel begins with. A step of
    # ResNet-20 is 1.2 times as fast without. To go when it is as fast with.
    return jax.lax.platform_dependent(
        x, cpu=jax.lax.optimization_barrier, default=lambda x: x
    )


# Derived by JAX, what depends on the platform would keep what each platform needs.
barrier.defvjp(lambda x: (barrier(x), None), lambda _, g: (barrier(g),))


def grouped(
    convolve: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    kernel: jax.Array,
    groups: int,
) -> jax.Array:
    """Return a convolution in groups, as separate ones put side by side.

    Args:
        convolve: from images and a kernel to images.
        x: images [B, H, W, C].
        kernel: [size, size, C / groups, features].
        groups: parts that input and output channels fall into.

    >>> x, kernel = jnp.array([[[[3.0, 5.0]]]]), jnp.array([[[[2.0, 10.0]]]])
    >>> print(grouped(lambda x, kernel: x * kernel, x, kernel, 2)[0, 0, 0])
    [ 6. 50.]
    """
    # https://github.com/jax-ml/jax/issues/13800: the grouped primitive, above all its
    # gradients, takes many times as long for the two groups of AlexNet. To go, for
    # `feature_group_count`, when a step of AlexNet takes no longer with that.
    parts = zip(
        jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True
    )
    return jnp.concatenate([convolve(*part) for part in parts], axis=-1)


# https://github.com/jax-ml/jax/issues/12868: XLA hands a convolution on a CPU to a fast
# routine if its images are [B, H, W, C] and its kernel [H, W, C, features], and brings
# others into that form first, but not inside a loop. The gradients that JAX derives are
# of other forms, and in a scan over micro-batches they take tens of times as long. To
# go when a step in 4 parts takes no longer with them than 4 steps.
FORM = ("NHWC", "HWIO", "NHWC")


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Return the convolution of images with a kernel, its gradients fast in a loop.

    With x the images, w the kernel, g the gradient by the result and s the stride,

    dx = (g dilated by s) * (w turned by 180 degrees, channels and features swapped)
    dw = x * (g dilated by s), images and channels in each other's place
       = at place (i, j) of the kernel, over images b and pixels (h, w) of g,
         the sum of x[b, i + s h, j + s w] g[b, h, w]^T, x padded

    Args:
        x: images [B, H, W, C].
        kernel: [size, size, C, features], of the dtype of x or a wider one. Products
            are of the former, its gradient of the latter, and never rounded to less.
        stride: pixels between windows.
        padding: zero pixels on each side.

    >>> image, kernel = jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
    >>> print(convolve(image, kernel, 1, 1)[0, :, :, 0])
    [[4. 6. 4.]
     [6. 9. 6.]
     [4. 6. 4.]]
    """
    return _convolve(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> Any:
    plain = partial(_plain, stride=stride, padding=padding)
    if not (_tiny(x, kernel) or _one_channel(x, kernel, stride)):
        return plain(x, kernel)

    def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        sides = [(0, 0, 0), (padding, padding, 0), (padding, padding, 0), (0, 0, 0)]
        return _by_patches(x, kernel.astype(x.dtype), stride, sides)

    return jax.lax.platform_dependent(x, kernel, cpu=by_patches, default=plain)


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(
    stride: int, padding: int, kept: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    # Accelerators know the gradients of a convolution by the form JAX gives them.
    return jax.lax.platform_dependent(
        *kept,
        g,
        cpu=partial(_fast_in_loops, stride=stride, padding=padding),
        default=partial(_derived, stride=stride, padding=padding),
    )


_convolve.defvjp(_forward, _backward)


def _plain(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=FORM,
    )


def _derived(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, jax.Array]:
    function = partial(_plain, stride=stride, padding=padding)
    if kernel.dtype == x.dtype:
        return jax.vjp(function, x, kernel)[1](g)
    [dx] = jax.vjp(lambda x: function(x, kernel), x)[1](g)
    # JAX's own form, which it cannot be asked for with a result of another dtype.
    dw = jax.lax.conv_general_dilated(
        x,
        g,
        (1, 1),
        [(padding, padding - r) for r in _rest(x, kernel, g, stride, padding)],
        rhs_dilation=(stride, stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        preferred_element_type=kernel.dtype,
    )
    return dx, dw


def _rest(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: int
) -> list[int]:
    """Return the pixels that x has, padded, beyond the last window, high and wide."""
    # Rows that g covers once it is dilated.
    dilated = [(n - 1) * stride + 1 for n in g.shape[1:3]]
    positions = [n + 2 * padding - kernel.shape[0] + 1 for n in x.shape[1:3]]
    return [n - m for n, m in zip(positions, dilated, strict=True)]


def _fast_in_loops(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, jax.Array]:
    rest = _rest(x, kernel, g, stride, padding)
    edge = kernel.shape[0] - 1 - padding
    turned = jnp.swapaxes(jnp.flip(kernel.astype(x.dtype), (0, 1)), 2, 3)
    if _tiny(g, kernel):
        high, wide = [(edge, edge + r, stride - 1) for r in rest]
        dx = _by_patches(g, turned, 1, [(0, 0, 0), high, wide, (0, 0, 0)])
    else:
        dx = jax.lax.conv_general_dilated(
            g,
            turned,
            (1, 1),
            [(edge, edge + r) for r in rest],
            lhs_dilation=(stride, stride),
            dimension_numbers=FORM,
        )
    few = g.shape[1] * g.shape[2] <= FEW_PIXELS and kernel.shape[0] > 1
    gradient = _as_convolution if few else _as_products
    return dx, gradient(x, g, kernel, stride, padding)


def _tiny(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether images are smaller than the windows of a convolution.

    The fast routine refuses those, and what takes them is 5 to 25 times as slow as a
    product. To go when a step of the digits' ResNet-8 takes no longer without it.
    """
    return min(x.shape[1:3]) < kernel.shape[0]


def _one_channel(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether a convolution of grey images is the faster as a product, up to 5 times.

    It is not where the patches of an image hold many times what the image does.
    """
    size, _, channels, features = kernel.shape
    return channels == 1 and size <= 3 * stride and features <= MOST_FEATURES


MOST_FEATURES = 32
"""Of a convolution of one channel: with 64 a product takes as long as the routine."""


def _by_patches(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    sides: Sequence[tuple[int, int, int]],
) -> jax.Array:
    """Return the product of the patches of images with a kernel.

    `sides` pads x: before, after and between its places in each dimension.
    """
    size, _, _, features = kernel.shape
    x = jax.lax.pad(x, np.zeros((), x.dtype), sides)
    high, wide = [(n - size) // stride + 1 for n in x.shape[1:3]]
    patches = jnp.concatenate(_views(x, size, stride, high, wide), axis=-1)
    y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, features)
    return y.reshape(len(x), high, wide, features)


def _views(
    x: jax.Array, size: int, stride: int, high: int, wide: int
) -> list[jax.Array]:
    """Return what each place of a kernel meets, [B, high, wide, C] of a padded x."""
    spans = [(n - 1) * stride + 1 for n in (high, wide)]
    return [
        x[:, i : i + spans[0] : stride, j : j + spans[1] : stride]
        for i in range(size)
        for j in range(size)
    ]


def _as_convolution(
    x: jax.Array, g: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> jax.Array:
    rest = _rest(x, kernel, g, stride, padding)
    dw = jax.lax.conv_general_dilated(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(g, (1, 2, 0, 3)),
        (1, 1),
        [(padding, padding - r) for r in rest],
        rhs_dilation=(stride, stride),
        dimension_numbers=FORM,
        preferred_element_type=kernel.dtype,
    )
    return jnp.transpose(dw, (1, 2, 0, 3))


# The kernel of that convolution is as large as the image: beyond 8 pixels a side it
# takes up to 16 times as long as products do, one for each place of dw. To go when a
# step of ResNet-20 takes no longer with the convolution alone.
FEW_PIXELS = 64
"""Of g, up to which a convolution is the faster, unless kernels have but one place."""

ROWS = 2048
"""Pixels at a time, so that what the products read stays in the caches."""

FEW_CHANNELS = 16
"""Below which rows of the products are short, and one is made for all places."""


def _as_products(
    x: jax.Array, g: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> jax.Array:
    size, _, channels, features = kernel.shape
    batch, height, width, _ = g.shape
    fit = max(1, ROWS // (height * width))
    part = max(n for n in range(1, min(fit, batch) + 1) if batch % n == 0)
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))

    def products(x: jax.Array, g: jax.Array) -> jax.Array:
        views = _views(x, size, stride, height, width)
        if channels < FEW_CHANNELS:
            views = [jnp.concatenate(views, axis=-1)]
        g = g.reshape(-1, features)
        return jnp.concatenate(
            [view.reshape(-1, view.shape[-1]).T @ g for view in views]
        )

    def add(
        total: jax.Array, pair: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, None]:
        return total + products(*pair), None

    # Products of narrower types are exact in float32, and slow here in their own.
    dtype = np.promote_types(x.dtype, np.float32)
    wide = jnp.pad(x, sides).astype(dtype), g.astype(dtype)
    parts = jax.tree.map(lambda a: a.reshape(-1, part, *a.shape[1:]), wide)
    zero = jnp.zeros((size * size * channels, features), dtype)
    total, _ = jax.lax.scan(add, zero, parts)
    return total.reshape(kernel.shape).astype(kernel.dtype)
