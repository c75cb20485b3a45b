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
from lars_jax.models.layers import Conv, Dense, is_small
from lars_jax.models.network import Network, from_linen
from lars_jax.models.norm import BatchNorm
from lars_jax.models.pool import max_pool

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

FIRST_BOTTLENECK = 50
"""Least depth whose blocks are bottlenecks."""


def resnet(
    num_classes: int = 1000,
    *,
    depth: int = 50,
    stride_in: Literal["1x1", "3x3"] = "1x1",
    zero_init_residual: bool = False,
    width: float = 1.0,
    stem_stride: Literal[1, 2, 4] = 1,
    dtype: Any = jnp.float32,
    bn_span: int | None = None,
    axis_name: str | None = None,
    wide_gradients: bool = False,
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
        width: channels over those of the paper, above 0.
        stem_stride: pixels between windows of the first convolution of the small form.
            2 and, with windows of 7 x 7, 4 are not in the paper; each leaves a quarter
            of the work that the one before it does.
        dtype: as of `build`.
        bn_span: as of `build`.
        axis_name: as of `build`.
        wide_gradients: as of `build`.

    Returns:
        A network from images [B, H, W, C] to logits [B, num_classes]. The images of
        `init` choose its form: up to 64 pixels, the small stem.

    Raises:
        InputError: a depth, stride or width that there is not.

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
    _check(depth, stride_in, width, stem_stride)
    module = ResNet(
        num_classes,
        depth,
        stride_in,
        zero_init_residual,
        width,
        stem_stride,
        dtype,
        bn_span,
        axis_name,
        wide_gradients,
    )
    return from_linen(module)


def resnet_features(
    *,
    depth: int = 50,
    stride_in: Literal["1x1", "3x3"] = "1x1",
    width: float = 1.0,
    stem_stride: int = 1,
    dtype: Any = jnp.float32,
) -> Network:
    """Return a residual network without its last layer.

    logits = features @ fc.kernel + fc.bias

    Args:
        depth: as of `resnet`.
        stride_in: as of `resnet`.
        width: as of `resnet`.
        stem_stride: as of `resnet`. Parameters do not tell 1 from 2.
        dtype: dtype of activations and products; parameters and features are float32.

    Returns:
        A network from images [B, H, W, C] to features [B, channels], the means over
        pixels that the last layer sees. It takes the parameters and state of a `resnet`
        of the same arguments, whose `fc` it leaves aside; its own `init` draws none.

    Raises:
        InputError: a depth, stride or width that there is not.

    >>> import jax, jax.numpy as jnp
    >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    >>> init = lambda: resnet(10, depth=20).init(jax.random.key(0), images)
    >>> params, state = jax.eval_shape(init)
    >>> apply = resnet_features(depth=20).apply
    >>> features, _ = jax.eval_shape(apply, params, state, images)
    >>> print(features.shape, params["fc"]["kernel"].shape)
    (1, 64) (64, 10)
    """
    _check(depth, stride_in, width, stem_stride)
    own = {"width": width, "stem_stride": stem_stride, "dtype": dtype}
    return from_linen(ResNet(None, depth, stride_in, **own))


class ResNet(nn.Module):
    """Stem, stages of blocks, mean over pixels, linear layer.

    Attributes are those of `resnet`; without classes the mean is the output.
    """

    num_classes: int | None
    depth: int
    stride_in: Literal["1x1", "3x3"] = "1x1"
    zero_init_residual: bool = False
    width: float = 1.0
    stem_stride: int = 1
    dtype: Any = jnp.float32
    bn_span: int | None = None
    axis_name: str | None = None
    wide_gradients: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Return logits or features, float32, of images [B, H, W, C]."""
        own = {"dtype": self.dtype, "wide_gradients": self.wide_gradients}
        conv = partial(Conv, bias_init=None, **own)
        norm = partial(
            BatchNorm, span=self.bn_span, axis_name=self.axis_name, dtype=self.dtype
        )
        cifar = self.depth in CIFAR_STAGES
        width = max(1, round(self.width * (16 if cifar else 64)))
        small = is_small(images) or cifar
        size, stride = (7, 2)
        if small:
            # Windows no smaller than the stride, or pixels would be passed over.
            size, stride = (7 if self.stem_stride == 4 else 3), self.stem_stride
        x = conv(width, size, stride, size // 2, name="conv1")(images)
        x = nn.relu(norm(name="conv1_bn")(x, train=train))
        if not small:
            x = max_pool(x, 3, 2, ((1, 1), (1, 1)))
        stages = (IMAGENET_STAGES | CIFAR_STAGES)[self.depth]
        for stage, blocks in enumerate(stages):
            for i in range(blocks):
                x = Block(
                    width * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    conv=conv,
                    norm=norm,
                    bottleneck=not cifar and self.depth >= FIRST_BOTTLENECK,
                    stride_in=self.stride_in,
                    zero_init=self.zero_init_residual,
                    option_a=cifar,
                    # Two digits, so that names sort in the order of the layers.
                    name=f"stage{stage + 1}_block{i + 1:02d}",
                )(x, train=train)
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        if self.num_classes is None:
            return x
        init = nn.initializers.normal(0.01)
        last = Dense(self.num_classes, kernel_init=init, name="fc", **own)
        return last(x).astype(jnp.float32)


class Block(nn.Module):
    """Convolutions and a shortcut: Figure 5.

    Two of 3x3, or as a bottleneck 1x1, 3x3 and 1x1, the last with four times as many
    channels.

    Attributes:
        features: number of channels.
        stride: pixels between windows of the first convolution, or of that which
            `stride_in` names.
        conv: constructor of convolutions.
        norm: constructor of normalisations.
        bottleneck: three convolutions in place of two.
        stride_in: of a bottleneck `1x1`, the first (v1), or `3x3`, the second (v1.5).
        zero_init: start the last normalisation's scale at 0.
        option_a: shortcut without parameters where the shape changes, in place of a
            projection.
    """

    features: int
    stride: int
    conv: Callable[..., Conv]
    norm: Callable[..., BatchNorm]
    bottleneck: bool = False
    stride_in: Literal["1x1", "3x3"] = "1x1"
    zero_init: bool = False
    option_a: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return features [B, H / stride, W / stride, channels] of `x`."""
        first, second = self.stride, 1
        if self.bottleneck and self.stride_in == "3x3":
            first, second = second, first
        layers = [(self.features, 3, first), (self.features, 3, second)]
        if self.bottleneck:
            layers[0] = self.features, 1, first
            layers.append((4 * self.features, 1, 1))
        y = x
        for i, (features, size, stride) in enumerate(layers, 1):
            last = i == len(layers)
            zero = self.zero_init and last
            init = nn.initializers.zeros if zero else nn.initializers.ones
            y = self.conv(features, size, stride, size // 2, name=f"conv{i}")(y)
            y = self.norm(scale_init=init, name=f"conv{i}_bn")(y, train=train)
            y = y if last else nn.relu(y)
        if self.option_a:
            x = subsample_and_pad(x, self.features, self.stride)
        elif x.shape != y.shape:
            x = self.conv(y.shape[-1], 1, self.stride, name="shortcut")(x)
            x = self.norm(name="shortcut_bn")(x, train=train)
        return nn.relu(y + x)


def subsample_and_pad(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Return every `stride`-th pixel, channels of zeros on both sides: option A."""
    missing = features - x.shape[-1]
    ends = (missing // 2, missing - missing // 2)
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), ends))


def _check(depth: int, stride_in: str, width: float, stem_stride: int) -> None:
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
    if not width > 0 or stem_stride not in (1, 2, 4):
        raise InputError(
            "a ResNet has a width above 0 and a stem_stride of 1, 2 or 4; got "
            f"{width:g} and {stem_stride}: choose others"
        )
