"""A convolution whose gradients are fast inside a loop on a CPU.

XLA hands a convolution on a CPU to a fast routine if its images are [B, H, W, C] and
its kernel [H, W, C, features], and brings others into that form first, but not inside a
loop: https://github.com/jax-ml/jax/issues/12868. The gradients that JAX derives are of
other forms, and in a scan over micro-batches they take tens of times as long. Here
they are written in that form. With x the images, w the kernel, g the gradient by the
result and s the stride,

    dx = (g spread out by s) * (w turned by 180 degrees, channels and features swapped)
    dw = x * (g spread out by s), images and channels in each other's place
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

FORM = ("NHWC", "HWIO", "NHWC")


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Return the convolution of images with a kernel.

    Args:
        x: images [B, H, W, C].
        kernel: [size, size, C, features].
        stride: pixels between windows.
        padding: zero pixels on each side.

    >>> import jax.numpy as jnp
    >>> image, kernel = jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
    >>> print(convolve(image, kernel, 1, 1)[0, :, :, 0])
    [[4. 6. 4.]
     [6. 9. 6.]
     [4. 6. 4.]]
    """
    return _convolve(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> Any:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=FORM
    )


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(
    stride: int, padding: int, kept: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    size = kernel.shape[0]
    # Rows that g covers once it is spread out, and what x has beyond them.
    spread = [(n - 1) * stride + 1 for n in g.shape[1:3]]
    positions = [n + 2 * padding - size + 1 for n in x.shape[1:3]]
    rest = [n - m for n, m in zip(positions, spread, strict=True)]
    edge = size - 1 - padding
    dx = jax.lax.conv_general_dilated(
        g,
        jnp.swapaxes(jnp.flip(kernel, (0, 1)), 2, 3),
        (1, 1),
        [(edge, edge + r) for r in rest],
        lhs_dilation=(stride, stride),
        dimension_numbers=FORM,
    )
    dw = jax.lax.conv_general_dilated(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(g, (1, 2, 0, 3)),
        (1, 1),
        [(padding, padding - r) for r in rest],
        rhs_dilation=(stride, stride),
        dimension_numbers=FORM,
    )
    return dx, jnp.transpose(dw, (1, 2, 0, 3))


_convolve.defvjp(_forward, _backward)
