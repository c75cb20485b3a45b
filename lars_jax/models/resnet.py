"""Residual networks of He et al. (2015), for ImageNet and for CIFAR.

The ImageNet form (Table 1 of the paper) has four stages of 64 to 512 channels and
projections where a stage changes the shape (option B); from depth 50 on its blocks are
bottlenecks. The CIFAR form (Section 4.2) has 6n + 2 layers, three stages of 16 to 64
channels and shortcuts without parameters (option A).

Departures and choices where the paper leaves one:
  * Images of at most 64 pixels take the ImageNet form with a 3x3 stem of stride 1 and
    no max-pooling, which the paper does not have, so that some pixels are left.
  * Option A puts half of its zero channels before and half after; the paper says that
    there are zeros, not where.
  * Kernels are drawn by He's rule in its fan-out form, and the last layer from a
    Gaussian of deviation 0.01 with zero bias, as Goyal et al. (2017), Section 5.1.
  * No convolution has a bias, since the normalisation after it has one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.errors import InputError
from lars_jax.models.layers import Conv, is_small, max_pool
from lars_jax.models.network import Network, from_linen
from lars_jax.models.norm import BatchNorm

IMAGENET_STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks in each stage, by depth: Table 1."""

CIFAR_STAGES = {6 * n + 2: (n, n, n) for n in (1, 2, 3, 5, 7, 9, 18)}
"""Blocks in each stage, by depth 6n + 2: Section 4.2, and two smaller ones."""

DEPTHS = (*IMAGENET_STAGES, *CIFAR_STAGES)
"""Depths that `resnet` builds."""

Constructor = Callable[..., Any]

FIRST_BOTTLENECK = 50
"""Least depth whose blocks are bottlenecks."""


def resnet(
    num_classes: int = 1000,
    *,
    depth: int = 50,
    stride_in: Literal["1x1", "3x3"] = "1x1",
    zero_init_residual: bool = False,
    dtype: Any = jnp.float32,
    bn_span: int | None = None,
    axis_name: str | None = None,
) -> Network:
    """Return a residual network.

    Args:
        num_classes: number of logits.
        depth: number of layers with weights, projections not counted; one of `DEPTHS`.
        stride_in: convolution of a bottleneck that halves the image. `1x1` is the paper
            (v1); `3x3` is what MLPerf and torchvision train (v1.5). Networks without
            bottlenecks halve in the first 3x3 of a block and ignore this.
        zero_init_residual: start the last scale of each block at 0, so that every block
            starts as its shortcut (Goyal et al.); the paper starts it at 1.
        dtype: dtype of activations and products; parameters, batch statistics and
            logits are float32.
        bn_span: ghost batch size, examples that one batch normalisation sees; None:
            the whole batch.
        axis_name: mapped axis over which the batch is spread, inside `shard_map` or
            `pmap`.

    Returns:
        A network from images [B, H, W, C] to logits [B, num_classes]. The images of
        `init` choose its form: up to 64 pixels, the small stem.

    Raises:
        InputError: a depth or stride that there is not.

    Reference:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015,
        https://arxiv.org/abs/1512.03385
        Goyal et al.: Accurate, Large Minibatch SGD, 2017, Section 5.1,
        https://arxiv.org/abs/1706.02677

    >>> import jax, jax.numpy as jnp
    >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    >>> init = lambda: resnet(1000, depth=50).init(jax.random.key(0), images)
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init)[0])))
    25557032
    """
    module = _resnet(
        num_classes,
        depth=depth,
        stride_in=stride_in,
        zero_init_residual=zero_init_residual,
        norm=partial(BatchNorm, span=bn_span, axis_name=axis_name, dtype=dtype),
        dtype=dtype,
    )
    return from_linen(module)


def resnet_features(
    *,
    depth: int = 50,
    stride_in: Literal["1x1", "3x3"] = "1x1",
    dtype: Any = jnp.float32,
) -> Network:
    """Return a residual network without its last layer.

    logits = features @ fc.kernel + fc.bias

    Args:
        depth: as of `resnet`.
        stride_in: as of `resnet`.
        dtype: dtype of activations and products; parameters and features are float32.

    Returns:
        A network from images [B, H, W, C] to features [B, channels], the means over
        pixels that the last layer sees. It takes the parameters and state of `resnet`
        of this depth, whose `fc` it leaves aside; its own `init` draws none.

    Raises:
        InputError: a depth or stride that there is not.

    >>> import jax, jax.numpy as jnp
    >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    >>> init = lambda: resnet(10, depth=20).init(jax.random.key(0), images)
    >>> params, state = jax.eval_shape(init)
    >>> apply = resnet_features(depth=20).apply
    >>> features, _ = jax.eval_shape(apply, params, state, images)
    >>> print(features.shape, params["fc"]["kernel"].shape)
    (1, 64) (64, 10)
    """
    norm = partial(BatchNorm, dtype=dtype)
    module = _resnet(None, depth=depth, stride_in=stride_in, norm=norm, dtype=dtype)
    return from_linen(module)


class ResNet(nn.Module):
    """Stem, stages of blocks, mean over pixels, linear layer.

    Attributes:
        num_classes: number of logits; None: the mean over pixels is the output.
        width: channels of the stem and of the first stage; each next stage doubles it.
        stages: number of blocks in each stage.
        always_small: take the small stem whatever the images.
        block: constructor of a block from channels, stride, `conv` and `norm`.
        conv: constructor of convolutions.
        norm: constructor of normalisations.
        dtype: dtype of activations and products.
    """

    num_classes: int | None
    width: int
    stages: tuple[int, ...]
    always_small: bool
    block: Constructor
    conv: Constructor
    norm: Constructor
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Return logits [B, num_classes], float32, of images [B, H, W, C].

        Without classes, return the features [B, channels] before the last layer.
        """
        x = self._stem(images, train)
        for stage, blocks in enumerate(self.stages):
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                # Two digits, so that names sort in the order of the layers.
                name = f"stage{stage + 1}_block{i + 1:02d}"
                features = self.width * 2**stage
                block = self.block(features, stride, self.conv, self.norm, name=name)
                x = block(x, train=train)
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        if self.num_classes is None:
            return pooled
        logits = nn.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.01),
            name="fc",
        )(pooled)
        return logits.astype(jnp.float32)

    def _stem(self, images: jax.Array, train: bool) -> jax.Array:
        small = is_small(images) or self.always_small
        shape = {"size": 3, "padding": 1} if small else {"size": 7, "padding": 3}
        stride = 1 if small else 2
        x = self.conv(self.width, stride=stride, name="conv1", **shape)(images)
        x = nn.relu(self.norm(name="conv1_bn")(x, train=train))
        if small:
            return x
        # One pixel of padding on each side, as He et al.; zeros never win after ReLU.
        return max_pool(jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: Figure 5, left.

    Attributes:
        features: number of channels of both convolutions.
        stride: pixels between windows of the first.
        conv: constructor of convolutions.
        norm: constructor of normalisations.
        last_scale_init: initialiser of the last normalisation's scale.
        option_a: shortcut without parameters where the shape changes, in place of a
            projection.
    """

    features: int
    stride: int
    conv: Constructor
    norm: Constructor
    last_scale_init: nn.initializers.Initializer = nn.initializers.ones
    option_a: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return features [B, H / stride, W / stride, features] of `x`."""
        conv = partial(self.conv, self.features, 3, padding=1)
        last_norm = self.norm(scale_init=self.last_scale_init, name="conv2_bn")
        y = conv(stride=self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="conv1_bn")(y, train=train))
        y = last_norm(conv(name="conv2")(y), train=train)
        if self.option_a:
            return nn.relu(y + subsample_and_pad(x, self.features, self.stride))
        return nn.relu(y + _projection(self, x, y.shape, train))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: Figure 5, right.

    Attributes:
        features: number of channels of the first two; the last has four times as many.
        stride: pixels between windows of the convolution that `stride_in` names.
        conv: constructor of convolutions.
        norm: constructor of normalisations.
        last_scale_init: initialiser of the last normalisation's scale.
        stride_in: `1x1`, the first (v1), or `3x3`, the second (v1.5).
    """

    features: int
    stride: int
    conv: Constructor
    norm: Constructor
    last_scale_init: nn.initializers.Initializer = nn.initializers.ones
    stride_in: Literal["1x1", "3x3"] = "1x1"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return features [B, H / stride, W / stride, 4 * features] of `x`."""
        first, second = (
            (self.stride, 1) if self.stride_in == "1x1" else (1, self.stride)
        )
        last_norm = self.norm(scale_init=self.last_scale_init, name="conv3_bn")
        y = self.conv(self.features, 1, stride=first, name="conv1")(x)
        y = nn.relu(self.norm(name="conv1_bn")(y, train=train))
        y = self.conv(self.features, 3, stride=second, padding=1, name="conv2")(y)
        y = nn.relu(self.norm(name="conv2_bn")(y, train=train))
        y = last_norm(self.conv(4 * self.features, 1, name="conv3")(y), train=train)
        return nn.relu(y + _projection(self, x, y.shape, train))


def subsample_and_pad(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Return every `stride`-th pixel, with channels of zeros on both sides.

    This is shortcut option A of He et al. (2015), Section 3.3.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1) + 1
    >>> print(subsample_and_pad(x, 3, 2))
    [[[[0. 1. 0.]]]]
    """
    missing = features - x.shape[-1]
    ends = (missing // 2, missing - missing // 2)
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), ends))


def _projection(
    block: BasicBlock | BottleneckBlock,
    x: jax.Array,
    shape: tuple[int, ...],
    train: bool,
) -> jax.Array:
    """Return `x`, projected by a 1x1 convolution where `shape` differs: option B."""
    if x.shape == shape:
        return x
    projection = block.conv(shape[-1], 1, stride=block.stride, name="shortcut")
    return block.norm(name="shortcut_bn")(projection(x), train=train)


def _resnet(
    num_classes: int | None,
    *,
    depth: int,
    stride_in: Literal["1x1", "3x3"],
    norm: Constructor,
    dtype: Any,
    zero_init_residual: bool = False,
) -> ResNet:
    if depth not in DEPTHS:
        raise InputError(
            f"the depth of a ResNet must be one of {', '.join(map(str, DEPTHS))}; "
            f"got {depth!r}: choose one of these"
        )
    if stride_in not in ("1x1", "3x3"):
        raise InputError(
            f"stride_in must be '1x1' (v1) or '3x3' (v1.5); got {stride_in!r}: "
            "choose one of these"
        )
    last = nn.initializers.zeros if zero_init_residual else nn.initializers.ones
    if depth in CIFAR_STAGES:
        block = partial(BasicBlock, last_scale_init=last, option_a=True)
    elif depth < FIRST_BOTTLENECK:
        block = partial(BasicBlock, last_scale_init=last)
    else:
        block = partial(BottleneckBlock, last_scale_init=last, stride_in=stride_in)
    return ResNet(
        num_classes,
        width=16 if depth in CIFAR_STAGES else 64,
        stages=(IMAGENET_STAGES | CIFAR_STAGES)[depth],
        always_small=depth in CIFAR_STAGES,
        block=block,
        conv=partial(Conv, bias_init=None, dtype=dtype),
        norm=norm,
        dtype=dtype,
    )
