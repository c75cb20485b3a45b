"""Layers and initialisers that AlexNet and ResNet are made of."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.cpu import barrier, convolve, grouped
from lars_jax.errors import InputError

SMALL_IMAGE = 64
"""Largest height or width, in pixels, for which a network takes its small form."""

HE_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Gaussian of variance 2 / fan_in: He et al. (2015), Equation 10, arXiv 1502.01852.

The forward form, which keeps the scale of activations.
"""

HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Gaussian of variance 2 / fan_out: He et al. (2015), Equation 14, arXiv 1502.01852.

The backward form, which keeps the scale of gradients.
"""


def is_small(images: jax.Array) -> bool:
    """Tell whether these images choose the small form of a network.

    Args:
        images: [B, H, W, C], floating.

    Raises:
        InputError: another rank or dtype.

    >>> import jax.numpy as jnp
    >>> is_small(jnp.zeros((1, 32, 32, 3))), is_small(jnp.zeros((1, 224, 224, 3)))
    (True, False)
    """
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            "a network takes floating-point images [batch, height, width, channels]; "
            f"got {images.dtype} {list(images.shape)}: normalise or reshape them first"
        )
    return max(images.shape[1:3]) <= SMALL_IMAGE


def local_response_norm(
    x: jax.Array,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> jax.Array:
    """Divide each activation by a power of the energy in its neighbouring channels.

    y_c = x_c / (k + alpha / size * sum of x_j^2 for |j - c| <= size // 2)^beta

    Channels beyond the ends count as zero. The energy is computed in float32.

    Args:
        x: activations [..., C].
        size: number of channels in the window, odd.
        alpha: weight of the window's mean energy; Caffe divides it by `size`, the
            paper does not.
        beta: exponent.
        k: constant; Caffe's default is 1, the paper has 2.

    Returns:
        An array of the shape and dtype of `x`.

    Reference:
        Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional
        Neural Networks, 2012, Section 3.3; Caffe's LRN layer, ACROSS_CHANNELS.

    The window of three channels holds 3^2 + 4^2 = 25, and (25 / 3 * 3)^0.5 = 5:

    >>> import jax.numpy as jnp
    >>> x = jnp.array([0.0, 3.0, 4.0])
    >>> print(local_response_norm(x, size=3, alpha=3.0, beta=0.5, k=0.0))
    [0.  0.6 0.8]
    """
    channels, reach = x.shape[-1], size // 2
    wide = x.astype(jnp.float32)
    ends = [(0, 0)] * (x.ndim - 1) + [(reach, reach)]
    energy = jnp.pad(jnp.square(wide), ends)
    # Shifted views, rather than a windowed sum, fuse with the arithmetic around them.
    window = sum(energy[..., i : i + channels] for i in range(size))
    return (wide * (k + alpha / size * window) ** -beta).astype(x.dtype)


def max_pool(x: jax.Array, *, size: int = 3, stride: int = 2) -> jax.Array:
    """Take maxima over windows, the last of which may hang over the edge.

    Caffe rounds the number of windows up, so pixels at the far edge are never dropped:
    AlexNet has 6 x 6 pixels after its last pool for images of 224 pixels as of 227.

    Args:
        x: [B, H, W, C].
        size: height and width of a window, in pixels.
        stride: pixels between windows.

    >>> import jax.numpy as jnp
    >>> print(max_pool(jnp.arange(6.0).reshape(1, 1, 6, 1))[0, 0, :, 0])
    [2. 4. 5.]
    """

    def overhang(pixels: int) -> tuple[int, int]:
        windows = max(-(-(pixels - size) // stride) + 1, 1)
        return 0, max((windows - 1) * stride + size - pixels, 0)

    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        window_dimensions=(1, size, size, 1),
        window_strides=(1, stride, stride, 1),
        padding=[(0, 0), *(overhang(pixels) for pixels in x.shape[1:3]), (0, 0)],
    )


class Dropout(nn.Module):
    """Dropout whose mask is a function of the key and the example alone.

    y = x / (1 - rate) where kept, with probability 1 - rate, else 0

    One mask for a whole batch, as `flax.linen.Dropout` draws it, depends on where in
    the batch an example lies, and so on micro-batches and on the devices of a mapped
    step. Here an example has the same mask wherever it is.

    Attributes:
        rate: probability of dropping an activation.

    Reference:
        Srivastava et al.: Dropout, 2014, Section 10, in the form that scales in
        training.

    >>> import jax, jax.numpy as jnp
    >>> training = {"train": True, "rngs": {"dropout": jax.random.key(0)}}
    >>> drop = Dropout(0.5)
    >>> both = drop.apply({}, jnp.ones((2, 4)), jnp.array([7, 9]), **training)
    >>> one = drop.apply({}, jnp.ones((1, 4)), jnp.array([9]), **training)
    >>> print(both[1], one[0])
    [2. 2. 0. 2.] [2. 2. 0. 2.]
    """

    rate: float

    @nn.compact
    def __call__(
        self, x: jax.Array, examples: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return `x` [B, ...] with activations dropped, if in training.

        Args:
            x: activations.
            examples: int32 [B], what tells examples apart; None: their place in `x`.
            train: whether to drop anything.
        """
        if not train or self.rate == 0:
            return x
        key = self.make_rng("dropout")
        numbers = jnp.arange(x.shape[0]) if examples is None else examples

        def mask(number: jax.Array) -> jax.Array:
            own = jax.random.fold_in(key, number)
            return jax.random.bernoulli(own, 1 - self.rate, x.shape[1:])

        return jnp.where(jax.vmap(mask)(numbers), x / (1 - self.rate), 0)


class Conv(nn.Module):
    """Convolution of images with zero padding, with or without groups and bias.

    Attributes:
        features: number of output channels.
        size: height and width of the kernel [size, size, C / groups, features].
        stride: pixels between windows.
        padding: zero pixels on each side.
        groups: parts that input and output channels fall into; a part sees only the
            same part of the input.
        dtype: dtype of the products and of the result; parameters are float32.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias; None: no bias.

    Reference:
        Krizhevsky et al. (2012), Section 3.5, for the groups.

    >>> import jax, jax.numpy as jnp
    >>> conv = Conv(4, 3, padding=1, groups=2, bias_init=None)
    >>> variables = conv.init(jax.random.key(0), jnp.zeros((1, 8, 8, 6)))
    >>> print(variables["params"]["kernel"].shape)
    (3, 3, 3, 4)
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT
    bias_init: nn.initializers.Initializer | None = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolution of `x` [B, H, W, C], in `dtype`."""
        channels = x.shape[-1] // self.groups
        shape = (self.size, self.size, channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = grouped(self._convolve, x, kernel, self.groups)
        if self.bias_init is None:
            return y
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if jax.default_backend() == "cpu":
            return convolve(barrier(x), kernel, self.stride, self.padding)
        # Accelerators know the gradients of a convolution by the form JAX gives them.
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            [(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
