"""Convolutions that halve or double an image, as convolutions of stride one.

XLA on a CPU is fast at convolutions of stride one alone. In blocks of 2 x 2 pixels,
taken as one pixel of four times the channels, both are a 3 x 3 convolution of stride
one, whose kernel has the 25 taps of the 5 x 5 one and 11 zeros; so are their gradients.
`benchmarks/mgan/step.py` has what it gains.
"""

import jax
import jax.numpy as jnp

from lars_jax.cpu import convolve

SIZE = 5
"""Height and width of a kernel."""


def halve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return the convolution of images by steps of two pixels, padded as `SAME`.

    Args:
        x: images [B, H, W, C].
        kernel: [5, 5, C, F].

    Returns:
        Images [B, ceil(H / 2), ceil(W / 2), F].

    >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((5, 5, 1, 1))
    >>> print(halve(x, kernel)[0, :, :, 0])
    [[16. 12.]
     [12.  9.]]
    """
    height, width, channels = x.shape[1:]
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    blocks = x.reshape(-1, rows, 2, columns, 2, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, 4 * channels)
    # `SAME` pads an even length by one pixel before it, an odd one by two.
    before = [1 - length % 2 for length in (height, width)]
    taps = jnp.pad(kernel, (*((n, 1 - n) for n in before), (0, 0), (0, 0)))
    taps = taps.reshape(3, 2, 3, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    return convolve(blocks, taps.reshape(3, 3, 4 * channels, -1), 1, 1)


def double(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return the transposed convolution of images, two pixels for each, as `SAME`.

    Args:
        x: images [B, H, W, C].
        kernel: [5, 5, C, F], as `jax.lax.conv_transpose` takes it.

    Returns:
        Images [B, 2 H, 2 W, F].

    >>> x, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((5, 5, 1, 1))
    >>> print(double(x, kernel)[0, :, :, 0])
    [[1. 2. 2. 2.]
     [2. 4. 4. 4.]
     [2. 4. 4. 4.]
     [2. 4. 4. 4.]]
    """
    _, height, width, channels = x.shape
    features = kernel.shape[-1]
    # Pixel 2 i + 1 of the result sees the taps 0, 2, 4; pixel 2 i the taps 1 and 3.
    taps = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    taps = jnp.flip(taps.reshape(3, 2, 3, 2, channels, features), (1, 3))
    taps = taps.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, channels, 4 * features)
    blocks = convolve(x, taps, 1, 1).reshape(-1, height, width, 2, 2, features)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(
        -1, 2 * height, 2 * width, features
    )
