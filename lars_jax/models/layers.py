"""Layers and initialisers that the networks are made of.

Parameters are float32 whatever the dtype of products. A layer with `wide_gradients`
computes their gradients from products of `dtype` in float32, too. Under `jit` they are
summed over devices as they are computed, and otherwise in the `dtype`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.cpu import barrier, convolve, grouped
from lars_jax.errors import InputError

SMALL_IMAGE = 64
"""Largest height or width, in pixels, for which a network takes its small form."""

LRN_SIZE, LRN_ALPHA, LRN_BETA = 5, 1e-4, 0.75
"""Channels in a window, weight of its mean energy, exponent: Caffe's AlexNet."""

HE_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""He et al. (2015), Equation 10, arXiv 1502.01852: keeps the scale of activations."""

HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Equation 14 of the same, the backward form, which keeps the scale of gradients."""


def require_images(images: jax.Array) -> None:
    """Raise `InputError` unless these are floating-point images [B, H, W, C]."""
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            "a network takes floating-point images [batch, height, width, channels]; "
            f"got {images.dtype} {list(images.shape)}: normalise or reshape them first"
        )


def is_small(images: jax.Array) -> bool:
    """Tell whether these images [B, H, W, C] choose the small form of a network."""
    require_images(images)
    return max(images.shape[1:3]) <= SMALL_IMAGE


def local_response_norm(x: jax.Array) -> jax.Array:
    """Divide each activation by a power of the energy in its neighbouring channels.

    y_c = x_c / (1 + 1e-4 / 5 * sum of x_j^2 for |j - c| <= 2)^0.75

    These are Caffe's constants: the paper's own do not divide the sum by the size of
    the window, and add 2. Channels beyond the ends count as zero. The energy is
    computed in float32, on a TPU to about 16 bits.

    Args:
        x: activations [..., C].

    Returns:
        An array of the shape and dtype of `x`.

    Reference:
        Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional
        Neural Networks, 2012, Section 3.3; Caffe's LRN layer, ACROSS_CHANNELS.

    The window holds 300^2 + 400^2 = 250000, and (1 + 2e-5 * 250000)^0.75 = 6^0.75:

    >>> import jax.numpy as jnp
    >>> print(local_response_norm(jnp.array([0.0, 300.0, 400.0])) * 6**0.75)
    [  0. 300. 400.]
    """
    return _response_norm(x)


# JAX's own derivative keeps float32 arrays of the size of the activations, and takes
# 3.4 times as long on CPUs at AlexNet's 27 x 27 x 256. For a TPU both are compiled to
# the same bytes.
@jax.custom_vjp
def _response_norm(x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    return (wide * _response(wide) ** -LRN_BETA).astype(x.dtype)


def _response(x: jax.Array) -> jax.Array:
    return 1.0 + LRN_ALPHA / LRN_SIZE * _windowed(jnp.square(x))


def _windowed(x: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(x, tpu=_by_product, default=_by_views)


def _by_views(x: jax.Array) -> jax.Array:
    channels, reach = x.shape[-1], LRN_SIZE // 2
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(reach, reach)])
    # Shifted views, rather than a windowed sum, fuse with the arithmetic around them.
    return sum((x[..., i : i + channels] for i in range(LRN_SIZE)), jnp.float32(0.0))


# A TPU writes shifted views to memory: AlexNet's first two layers at a batch of 128
# move 3.20 GB by views and 1.96 GB by products, which take in what is around them.
# On paper they need 0.9 ms of a v5e where 1.5 ms of its memory's time are saved. HIGH
# is three bfloat16 passes, which keep about 16 bits of the energy.
def _by_product(x: jax.Array) -> jax.Array:
    place = jnp.arange(x.shape[-1])
    near = jnp.abs(jnp.subtract.outer(place, place)) <= LRN_SIZE // 2
    return jnp.matmul(x, near.astype(x.dtype), precision=jax.lax.Precision.HIGH)


def _response_norm_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    # With s the response, y = x s^-b: dx = g s^-b - 2 a b / n x sum(g x s^(-b-1)).
    wide, g = x.astype(jnp.float32), g.astype(jnp.float32)
    response = _response(wide)
    scaled = g * response**-LRN_BETA
    shared = _windowed(scaled * wide / response)
    slope = 2.0 * LRN_BETA * LRN_ALPHA / LRN_SIZE
    return ((scaled - slope * wide * shared).astype(x.dtype),)


_response_norm.defvjp(lambda x: (_response_norm(x), x), _response_norm_backward)


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
        wide_gradients: whether gradients of parameters are computed in float32.

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
    wide_gradients: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolution of `x` [B, H, W, C], in `dtype`."""
        channels = x.shape[-1] // self.groups
        shape = (self.size, self.size, channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x = x.astype(self.dtype)
        if not self.wide_gradients:
            kernel = kernel.astype(self.dtype)
        y = grouped(self._convolve, x, kernel, self.groups)
        if self.bias_init is None:
            return y
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return add_bias(y, bias, wide_gradients=self.wide_gradients)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve(barrier(x), kernel, self.stride, self.padding)


class Dense(nn.Module):
    """Linear layer, y = x w + b.

    Attributes:
        features: number of outputs.
        dtype: dtype of the products and of the result; parameters are float32.
        kernel_init: initialiser of the kernel [inputs, features].
        bias_init: initialiser of the bias [features].
        wide_gradients: whether gradients of parameters are computed in float32.

    >>> import jax, jax.numpy as jnp
    >>> dense = Dense(3, kernel_init=nn.initializers.ones)
    >>> x = jnp.array([[1.0, 2.0]])
    >>> print(dense.apply(dense.init(jax.random.key(0), x), x))
    [[3. 3. 3.]]
    """

    features: int
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_FAN_IN
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    wide_gradients: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs [B, features] of `x` [B, inputs], in `dtype`."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        x = x.astype(self.dtype)
        if self.wide_gradients:
            y = _product(x, kernel)
        else:
            y = jnp.dot(x, kernel.astype(self.dtype))
        return add_bias(y, bias, wide_gradients=self.wide_gradients)


def add_bias(y: jax.Array, bias: jax.Array, *, wide_gradients: bool) -> jax.Array:
    """Return y + b in the dtype of y.

    Args:
        y: [B, ..., C].
        bias: float32 [C].
        wide_gradients: whether the gradient of the bias is summed in float32.
    """
    return _sum(y, bias) if wide_gradients else _narrow_sum(y, bias)


def _narrow_sum(y: jax.Array, bias: jax.Array) -> jax.Array:
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + bias.shape)


_sum = jax.custom_vjp(_narrow_sum)
_sum.defvjp(
    lambda y, bias: (_sum(y, bias), None),
    lambda _, g: (g, jnp.sum(g, range(g.ndim - 1), dtype=jnp.float32)),
)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.dot(x, kernel.astype(x.dtype))


def _product_backward(
    kept: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    wide = jnp.dot(x.T, g, preferred_element_type=kernel.dtype)
    return jnp.dot(g, kernel.astype(x.dtype).T), wide


_product.defvjp(lambda x, kernel: (_product(x, kernel), (x, kernel)), _product_backward)
