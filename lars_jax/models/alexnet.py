"""AlexNet as Caffe trains it, and AlexNet-BN of the LARS paper.

`norm="lrn"` is BVLC's reference model: convolution, ReLU, local response
normalisation, max-pooling, in that order. `norm="batch"` replaces LRN by batch
normalisation after each convolution, before its ReLU, as the authors' alexnet_bn does;
dropout stays.

Departures, and choices where the sources differ:
  * The published alexnet_bn has no bias in conv1 to conv4. Table 2 of the paper lists
    one in every layer, with norms that are those of constants, so AlexNet-BN has them
    here, started at the values that give the table's ||w||. (The table's labels ".w"
    and ".b" are swapped: 0.01 * sqrt(11 * 11 * 3 * 96) = 1.87 stands by "conv1.b".)
  * Caffe doubles the rate of biases and spares them weight decay. That is for the
    optimizer to do or leave; see the masks of `lars_jax.optim`.
  * Caffe's images are pixels 0 to 255 less their mean, and LRN's constant assumes that
    scale. Nothing here rescales images.
  * Images of at most 64 pixels take a small form, which is ours: conv1 is 5x5 with
    stride 1 and padding 2, and fc6 and fc7 have 1024 units in place of 4096, for 32
    pixels leave fc6 some 4 x 4 in place of 6 x 6. Its kernels start by He's rule, since
    deviations of 0.01 fit the fan-ins and pixel scale of the full form; fc8 keeps 0.01,
    so that the first logits are small.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.errors import InputError
from lars_jax.models.layers import (
    HE_FAN_IN,
    Conv,
    Dense,
    Dropout,
    is_small,
    local_response_norm,
)
from lars_jax.models.network import Network, from_linen
from lars_jax.models.norm import BatchNorm
from lars_jax.models.pool import cover_padding, max_pool

DROPOUT = 0.5
"""Share of fc6 and fc7 that is dropped in training."""

BATCH_NORM_EPSILON = 1e-4
"""As in the authors' alexnet_bn; the ResNets have 1e-5."""


class ConvSpec(NamedTuple):
    """One convolution: channels, kernel in pixels, padding, groups, pooled after."""

    features: int
    size: int
    padding: int
    groups: int
    pool: bool


CONVS = {
    "conv1": ConvSpec(96, 11, 0, 1, True),
    "conv2": ConvSpec(256, 5, 2, 2, True),
    "conv3": ConvSpec(384, 3, 1, 1, False),
    "conv4": ConvSpec(384, 3, 1, 2, False),
    "conv5": ConvSpec(256, 3, 1, 2, True),
}
"""The full form; conv1 has stride 4."""

LRN_LAYERS = ("conv1", "conv2")
"""Layers that local response normalisation follows."""

LAYERS = (*CONVS, "fc6", "fc7", "fc8")
"""Layers with weights, in order."""

BIASES = {
    "lrn": dict(zip(LAYERS, (0.0, 0.1, 0.0, 0.1, 0.1, 0.1, 0.1, 0.0), strict=True)),
    "batch": dict(zip(LAYERS, (*[0.01] * 5, 0.1, 0.1, 0.01), strict=True)),
}
"""Initial biases: BVLC's fillers, and the constants with the norms of Table 2."""

SMALL_WIDTH, FULL_WIDTH = 1024, 4096
"""Units of fc6 and of fc7 in each form."""


def alexnet(
    num_classes: int = 1000,
    *,
    norm: Literal["lrn", "batch"] = "lrn",
    dtype: Any = jnp.float32,
    bn_span: int | None = None,
    axis_name: str | None = None,
    wide_gradients: bool = False,
) -> Network:
    """Return AlexNet, or AlexNet-BN.

    Args:
        num_classes: number of logits.
        norm: `lrn`, local response normalisation (AlexNet), or `batch` (AlexNet-BN).
        dtype: as of `build`.
        bn_span: as of `build`.
        axis_name: as of `build`.
        wide_gradients: as of `build`.

    Returns:
        A network from images [B, H, W, C] to logits [B, num_classes], with dropout. The
        images of `init` choose its form: the full one, meant for 227 pixels (224 give
        the same shapes), or up to 64 pixels the small one.

    Raises:
        InputError: a norm that there is not.

    Reference:
        Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional
        Neural Networks, 2012; Caffe's models/bvlc_alexnet.
        You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017,
        Section 3 and Table 2, https://arxiv.org/abs/1708.03888

    >>> import jax, jax.numpy as jnp
    >>> images = jax.ShapeDtypeStruct((1, 227, 227, 3), jnp.float32)
    >>> init = lambda: alexnet(1000).init(jax.random.key(0), images)
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init)[0])))
    60965224
    """
    if norm not in BIASES:
        raise InputError(
            f"the norm of AlexNet must be 'lrn' or 'batch'; got {norm!r}: "
            "choose one of these"
        )
    module = AlexNet(num_classes, norm, dtype, bn_span, axis_name, wide_gradients)
    return from_linen(module)


class AlexNet(nn.Module):
    """Five convolutions and three linear layers; see `alexnet` for the attributes."""

    num_classes: int
    norm: Literal["lrn", "batch"]
    dtype: Any
    bn_span: int | None
    axis_name: str | None
    wide_gradients: bool = False
    dropout: float = DROPOUT

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, examples: jax.Array | None = None
    ) -> jax.Array:
        """Return logits [B, num_classes], float32, of images [B, H, W, C]."""
        small = is_small(images)
        x = images
        for name, spec in CONVS.items():
            stride = 4 if name == "conv1" else 1
            if small and name == "conv1":
                spec, stride = spec._replace(size=5, padding=2), 1
            x = Conv(
                spec.features,
                spec.size,
                stride,
                spec.padding,
                spec.groups,
                dtype=self.dtype,
                kernel_init=HE_FAN_IN if small else nn.initializers.normal(0.01),
                bias_init=nn.initializers.constant(BIASES[self.norm][name]),
                wide_gradients=self.wide_gradients,
                name=name,
            )(x)
            x = self._after(name, x, train)
        x = x.reshape(x.shape[0], -1)
        init = HE_FAN_IN if small else nn.initializers.normal(0.005)
        width = SMALL_WIDTH if small else FULL_WIDTH
        for name in ("fc6", "fc7"):
            x = nn.relu(self._dense(name, width, init)(x))
            x = Dropout(self.dropout)(x, examples, train=train)
        last = self._dense("fc8", self.num_classes, nn.initializers.normal(0.01))
        return last(x).astype(jnp.float32)

    def _after(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        """Return what a convolution hands on."""
        x = self._norm_and_relu(name, x, train)
        return max_pool(x, 3, 2, cover_padding(x, 3, 2)) if CONVS[name].pool else x

    def _norm_and_relu(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        if self.norm == "lrn":
            x = nn.relu(x)
            return local_response_norm(x) if name in LRN_LAYERS else x
        return nn.relu(self._batch_norm(name)(x, train=train))

    def _batch_norm(self, name: str) -> BatchNorm:
        return BatchNorm(
            span=self.bn_span,
            axis_name=self.axis_name,
            epsilon=BATCH_NORM_EPSILON,
            dtype=self.dtype,
            name=f"{name}_bn",
        )

    def _dense(
        self, name: str, features: int, kernel_init: nn.initializers.Initializer
    ) -> Dense:
        return Dense(
            features,
            dtype=self.dtype,
            kernel_init=kernel_init,
            bias_init=nn.initializers.constant(BIASES[self.norm][name]),
            wide_gradients=self.wide_gradients,
            name=name,
        )
