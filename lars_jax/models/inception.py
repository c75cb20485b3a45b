"""Inception-v3 as FID and the Inception score use it: the graph of 2015-12-05.

Salimans et al. (2016) and Heusel et al. (2017) read features and class probabilities
of one TensorFlow graph, `inception-2015-12-05`, so only this graph gives numbers that
can be put beside theirs. It differs from Inception-v3 as it is usually built:
  * Average pooling divides by the pixels that a window covers, not by all nine.
  * The last block pools by maxima where Szegedy et al. average.
  * There are 1008 outputs, of which 1000 are classes.
  * Batch normalisation adds 1e-3 to the variance.
  * The graph itself resizes its images and scales them: see `inception_images`.

Names of layers are those of the state dict of the PyTorch port of these weights.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.errors import InputError
from lars_jax.models.inception_images import IMAGE_SIZE
from lars_jax.models.network import Network, from_linen
from lars_jax.models.norm import BatchNorm
from lars_jax.models.pool import NO_PADDING, max_pool

OUTPUTS = 1008
"""Logits of the graph; the classes of ImageNet are 1000 of them."""

EPSILON = 1e-3
"""What batch normalisation adds to the variance."""

EXACT = jax.lax.Precision.HIGHEST
"""Products in full float32: the halves that accelerators take shift the distances."""


class Layer(NamedTuple):
    """A convolution: name, channels, kernel, stride, zeros around the image or none."""

    name: str
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


def inception() -> Network:
    """Return Inception-v3 as the graph of 2015-12-05 has it, for evaluation only.

    Returns:
        A network from images [B, 299, 299, 3], floating, in -1 .. 1, to a pair:
        features float32 [B, 2048], the mean over pixels of the last block, and logits
        float32 [B, 1008]. The logits are features @ fc.kernel WITHOUT the bias of the
        graph's last layer, as Salimans et al. compute the Inception score; there is
        no bias among the parameters. Applied with `train=True` or to images of another
        shape, it raises `InputError`.

    Reference:
        Szegedy et al.: Rethinking the Inception Architecture, 2015,
        https://arxiv.org/abs/1512.00567
        Heusel et al.: GANs Trained by a Two Time-Scale Update Rule, 2017,
        https://arxiv.org/abs/1706.08500
        Salimans et al.: Improved Techniques for Training GANs, 2016,
        https://arxiv.org/abs/1606.03498

    >>> import jax, jax.numpy as jnp
    >>> images = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    >>> init = lambda: inception().init(jax.random.key(0), images)
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init)[0])))
    23849952
    """
    return from_linen(Inception())


class Inception(nn.Module):
    """Seven convolutions of the stem, eleven blocks, mean over pixels, last layer."""

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Return features [B, 2048] and logits [B, 1008]; see `inception`."""
        whole = (IMAGE_SIZE, IMAGE_SIZE, 3)
        floating = jnp.issubdtype(images.dtype, jnp.floating)
        if images.shape[1:] != whole or not floating:
            raise InputError(
                f"Inception takes floating-point images [batch, {IMAGE_SIZE}, "
                f"{IMAGE_SIZE}, 3]; got {images.dtype} {list(images.shape)}: resize "
                "and scale them with `inception_images`"
            )
        if train:
            raise InputError(
                "Inception measures other networks and is not trained; got train=True: "
                "apply it with train=False"
            )
        x = _chain(
            images.astype(jnp.float32),
            Layer("Conv2d_1a_3x3", 32, (3, 3), stride=2, same=False),
            Layer("Conv2d_2a_3x3", 32, (3, 3), same=False),
            Layer("Conv2d_2b_3x3", 64, (3, 3)),
        )
        x = _chain(
            _max_pool(x, 2),
            Layer("Conv2d_3b_1x1", 80),
            Layer("Conv2d_4a_3x3", 192, (3, 3), same=False),
        )
        x = _max_pool(x, 2)
        for name, branches in BLOCKS.items():
            x = Block(branches, name=name)(x)
        features = jnp.mean(x, axis=(1, 2))
        last = nn.Dense(OUTPUTS, use_bias=False, precision=EXACT, name="fc")
        return features, last(features)


class Block(nn.Module):
    """Branches that see the same image, put side by side: `branches(x)`, in order."""

    branches: Callable[[jax.Array], list[jax.Array]]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the channels of all branches of `x` [B, H, W, C]."""
        return jnp.concatenate(self.branches(x), axis=-1)


class Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    layer: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations of `x` [B, H, W, C]."""
        layer = self.layer
        y = nn.Conv(
            layer.features,
            layer.size,
            layer.stride,
            "SAME" if layer.same else "VALID",
            use_bias=False,
            precision=EXACT,
            name="conv",
        )(x)
        return nn.relu(BatchNorm(epsilon=EPSILON, name="bn")(y, train=False))


def _block_a(x: jax.Array, *, pooled: int) -> list[jax.Array]:
    return [
        _chain(x, Layer("branch1x1", 64)),
        _chain(x, Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5))),
        _chain(
            x,
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, (3, 3)),
            Layer("branch3x3dbl_3", 96, (3, 3)),
        ),
        _chain(_mean_pool(x), Layer("branch_pool", pooled)),
    ]


def _block_b(x: jax.Array) -> list[jax.Array]:
    return [
        _chain(x, Layer("branch3x3", 384, (3, 3), stride=2, same=False)),
        _chain(
            x,
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, (3, 3)),
            Layer("branch3x3dbl_3", 96, (3, 3), stride=2, same=False),
        ),
        _max_pool(x, 2),
    ]


def _block_c(x: jax.Array, *, inner: int) -> list[jax.Array]:
    row, column = (1, 7), (7, 1)
    return [
        _chain(x, Layer("branch1x1", 192)),
        _chain(
            x,
            Layer("branch7x7_1", inner),
            Layer("branch7x7_2", inner, row),
            Layer("branch7x7_3", 192, column),
        ),
        _chain(
            x,
            Layer("branch7x7dbl_1", inner),
            Layer("branch7x7dbl_2", inner, column),
            Layer("branch7x7dbl_3", inner, row),
            Layer("branch7x7dbl_4", inner, column),
            Layer("branch7x7dbl_5", 192, row),
        ),
        _chain(_mean_pool(x), Layer("branch_pool", 192)),
    ]


def _block_d(x: jax.Array) -> list[jax.Array]:
    return [
        _chain(
            x,
            Layer("branch3x3_1", 192),
            Layer("branch3x3_2", 320, (3, 3), stride=2, same=False),
        ),
        _chain(
            x,
            Layer("branch7x7x3_1", 192),
            Layer("branch7x7x3_2", 192, (1, 7)),
            Layer("branch7x7x3_3", 192, (7, 1)),
            Layer("branch7x7x3_4", 192, (3, 3), stride=2, same=False),
        ),
        _max_pool(x, 2),
    ]


def _block_e(
    x: jax.Array, *, pool: Callable[[jax.Array], jax.Array]
) -> list[jax.Array]:
    row, column = (1, 3), (3, 1)
    single = _chain(x, Layer("branch3x3_1", 384))
    double = _chain(
        x, Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, (3, 3))
    )
    return [
        _chain(x, Layer("branch1x1", 320)),
        _chain(single, Layer("branch3x3_2a", 384, row)),
        _chain(single, Layer("branch3x3_2b", 384, column)),
        _chain(double, Layer("branch3x3dbl_3a", 384, row)),
        _chain(double, Layer("branch3x3dbl_3b", 384, column)),
        _chain(pool(x), Layer("branch_pool", 192)),
    ]


def _chain(x: jax.Array, *layers: Layer) -> jax.Array:
    for layer in layers:
        x = Unit(layer, name=layer.name)(x)
    return x


def _max_pool(x: jax.Array, stride: int) -> jax.Array:
    padding = ((1, 1), (1, 1)) if stride == 1 else NO_PADDING
    return max_pool(x, 3, stride, padding)


def _mean_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


BLOCKS = {
    "Mixed_5b": partial(_block_a, pooled=32),
    "Mixed_5c": partial(_block_a, pooled=64),
    "Mixed_5d": partial(_block_a, pooled=64),
    "Mixed_6a": _block_b,
    "Mixed_6b": partial(_block_c, inner=128),
    "Mixed_6c": partial(_block_c, inner=160),
    "Mixed_6d": partial(_block_c, inner=160),
    "Mixed_6e": partial(_block_c, inner=192),
    "Mixed_7a": _block_d,
    "Mixed_7b": partial(_block_e, pool=_mean_pool),
    "Mixed_7c": partial(_block_e, pool=partial(_max_pool, stride=1)),
}
"""Blocks in order; the last pools by maxima, which is the graph's own way."""
