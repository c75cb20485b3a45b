"""VGG16 in two pieces: convolutions with named taps, and the linear layers after them.

Configuration D of Simonyan and Zisserman, Table 1. `vgg16` ends at a layer that the
caller names, and `vgg_head` goes on from there, so that networks with other ends, or
with several towers, are put together of these with `chain`.

Departures and choices where the paper leaves one:
  * Kernels are drawn by He's rule and biases start at 0; the paper begins with the
    layers of a shallower net, since the deep one did not train from its Gaussian.
  * Batch normalisation, where it is asked for, has neither scale nor shift, so that no
    channel can be silenced (Doersch et al.), and a layer keeps its bias, though nothing
    comes of it: the parameters are the same with and without.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.errors import InputError
from lars_jax.models.layers import HE_FAN_IN, Conv, Dropout, require_images
from lars_jax.models.network import ModelState, Network, Params, from_linen
from lars_jax.models.norm import BatchNorm
from lars_jax.models.pool import max_pool

Blocks = tuple[tuple[int, int], ...]
"""Channels and convolutions of each block, which a pooling layer ends."""

VGG16_BLOCKS: Blocks = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Those of configuration D."""


def vgg_layers(blocks: Blocks = VGG16_BLOCKS) -> tuple[str, ...]:
    """Return the layers that can be tapped, in order: convolutions and pools.

    >>> vgg_layers(((64, 2), (128, 1)))
    ('conv1_1', 'conv1_2', 'pool1', 'conv2_1', 'pool2')
    """
    return tuple(
        layer
        for block, (_, count) in enumerate(blocks, 1)
        for layer in (*(f"conv{block}_{i + 1}" for i in range(count)), f"pool{block}")
    )


VGG16_LAYERS = vgg_layers()
"""Layers of VGG16 that can be tapped, in order."""

VGG16_CONVS = tuple(name for name in VGG16_LAYERS if name.startswith("conv"))
"""Convolutions of VGG16, in order."""

EPSILON = 1e-5
"""What batch normalisation adds to the variance."""


def vgg16(
    tap: str | Sequence[str] = "pool5",
    *,
    blocks: Blocks = VGG16_BLOCKS,
    width: float = 1.0,
    norm_layers: Sequence[str] = (),
    dtype: Any = jnp.float32,
    bn_span: int | None = None,
    axis_name: str | None = None,
) -> Network:
    """Return the convolutions of VGG16, up to a layer or to the last of several.

    Args:
        tap: the layer whose activations are the output, of `vgg_layers(blocks)`; those
            of a convolution are tapped after its ReLU. Several: a dictionary of all.
        blocks: channels and convolutions of each block; others than VGG16's make a
            smaller network of the same kind.
        width: share of the channels, above 0 and at most 1.
        norm_layers: convolutions that batch normalisation without scale and shift
            follows, before the ReLU.
        dtype: dtype of activations and products; parameters and outputs are float32.
        bn_span: as of `build`.
        axis_name: as of `build`.

    Returns:
        A network from images [B, H, W, C] to activations [B, H / s, W / s, channels], s
        being 2 to the number of pools before; or to a dictionary of such. Of sides that
        are no multiples of s, the pixels beyond the last whole window are dropped. It
        has the layers up to its last tap, and takes the parameters of a network with
        more, which it leaves aside.

    Raises:
        InputError: a layer or a width that there is not; when called, images too small
            for the pools.

    Reference:
        Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image
        Recognition, 2014, Table 1, https://arxiv.org/abs/1409.1556
        Doersch, Gupta, Efros: Unsupervised Visual Representation Learning by Context
        Prediction, 2015, https://arxiv.org/abs/1505.05192

    >>> import jax, jax.numpy as jnp
    >>> network, key = vgg16(("conv5_3", "pool5")), jax.random.key(0)
    >>> images = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    >>> params, state = jax.eval_shape(lambda: network.init(key, images))
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(params)))
    14714688
    >>> features, _ = jax.eval_shape(network.apply, params, state, images)
    >>> print({name: leaf.shape for name, leaf in features.items()})
    {'conv5_3': (1, 6, 6, 512), 'pool5': (1, 3, 3, 512)}
    """
    taps = (tap,) if isinstance(tap, str) else tuple(tap)
    if not taps:
        raise InputError("VGG16 ends at a tap; got none: name a layer, such as pool5")
    layers = vgg_layers(blocks)
    convolutions = tuple(name for name in layers if name.startswith("conv"))
    _require_known("a tap", taps, layers)
    _require_known("a normalised convolution", norm_layers, convolutions)
    if not 0 < width <= 1:
        raise InputError(
            f"the width of VGG16 must be above 0 and at most 1; got {width}: choose a "
            "share of its channels"
        )
    single = isinstance(tap, str)
    module = VGG16(
        taps, single, blocks, width, frozenset(norm_layers), dtype, bn_span, axis_name
    )
    return from_linen(module)


def vgg_head(
    sizes: Sequence[int] = (4096, 1024),
    *,
    first: int = 6,
    last_relu: bool = True,
    norm_layers: Sequence[str] = (),
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    bn_span: int | None = None,
    axis_name: str | None = None,
) -> Network:
    """Return linear layers with ReLUs between, named fc6, fc7 and so on.

    Args:
        sizes: units of each layer.
        first: number in the name of the first layer.
        last_relu: whether a ReLU ends the network. Without, the last layer starts from
            a Gaussian of deviation 0.01, so that first logits are small.
        norm_layers: layers that batch normalisation without scale and shift follows.
        dropout: share of the activations after each ReLU that is dropped in training.
        dtype: dtype of activations and products; parameters and outputs are float32.
        bn_span: as of `build`.
        axis_name: as of `build`.

    Returns:
        A network from features [B, ...], which are flattened, to [B, sizes[-1]].

    Raises:
        InputError: no layers, one without units, or a normalised one that there is not.

    Reference:
        Wang, He, Gupta: Transitive Invariance for Self-supervised Visual Representation
        Learning, 2017, https://arxiv.org/abs/1708.02901

    The network of its triplets, and VGG16 as a classifier:

    >>> import jax, jax.numpy as jnp
    >>> from lars_jax.models import chain
    >>> def count(network, pixels):
    ...     images = jax.ShapeDtypeStruct((1, pixels, pixels, 3), jnp.float32)
    ...     params, _ = jax.eval_shape(lambda: network.init(jax.random.key(0), images))
    ...     return sum(leaf.size for leaf in jax.tree.leaves(params))
    >>> triplets = chain(trunk=vgg16(), head=vgg_head((4096, 1024)))
    >>> logits = vgg_head((4096, 4096, 1000), last_relu=False, dropout=0.5)
    >>> classifier = chain(trunk=vgg16(), head=logits)
    >>> print(count(triplets, 96), count(classifier, 224))
    37788480 138357544
    """
    names = tuple(f"fc{first + i}" for i in range(len(sizes)))
    if not names or min(sizes) < 1:
        raise InputError(
            "a head must have layers of at least one unit; got sizes "
            f"{tuple(sizes)}: correct them"
        )
    _require_known("a normalised layer of this head", norm_layers, names)
    module = VGGHead(
        tuple(zip(names, sizes, strict=True)),
        last_relu,
        frozenset(norm_layers),
        dropout,
        dtype,
        bn_span,
        axis_name,
    )
    return from_linen(module)


def fold_batch_norm(params: Params, model_state: ModelState) -> Params:
    """Return parameters with which a network without normalisation evaluates alike.

    W' = W / sqrt(var + epsilon),    b' = (b - mean) / sqrt(var + epsilon)

    Args:
        params: of `vgg16`, of `vgg_head`, or of what `chain` makes of them.
        model_state: their running statistics; a layer that has none stays as it is.

    Returns:
        Parameters of the same structure, for the same network without `norm_layers`.

    Raises:
        InputError: statistics of a layer that there is not, or a normalisation with
            scale and shift, as the other networks have.

    Reference:
        Doersch, Gupta, Efros (2015), whose network is published so folded,
        https://github.com/cdoersch/deepcontext

    >>> import jax.numpy as jnp
    >>> params = {"fc6": {"kernel": jnp.array([[6.0]]), "bias": jnp.array([5.0])}}
    >>> seen = {"mean": jnp.array([1.0]), "var": jnp.array([4.0 - EPSILON])}
    >>> folded = fold_batch_norm(params, {"batch_stats": {"fc6_bn": seen}})
    >>> print(folded["fc6"]["kernel"], folded["fc6"]["bias"])
    [[3.]] [2.]
    """
    folded = dict(params)
    for name, state in model_state.items():
        if name != "batch_stats":
            folded[name] = fold_batch_norm(params[name], state)
            continue
        for norm, statistics in state.items():
            layer = norm.removesuffix("_bn")
            if norm in params or layer not in params or "mean" not in statistics:
                raise InputError(
                    "statistics are folded into the layer of their name, without scale "
                    f"and shift; got {norm} beside {', '.join(params)}: take the "
                    "parameters and the state of one network of vgg16 and vgg_head"
                )
            folded[layer] = _folded(params[layer], statistics)
    return folded


class VGG16(nn.Module):
    """Blocks of convolutions, each ended by pooling; see `vgg16` for the attributes."""

    taps: tuple[str, ...]
    single: bool
    blocks: Blocks
    width: float
    norm_layers: frozenset[str]
    dtype: Any
    bn_span: int | None
    axis_name: str | None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> Any:
        """Return the tapped activations, float32, of images [B, H, W, C]."""
        require_images(images)
        layers = vgg_layers(self.blocks)
        last = max(layers.index(name) for name in self.taps)
        tapped: dict[str, jax.Array] = {}
        x = images
        for name in layers[: last + 1]:
            x = _max_pool(x) if name.startswith("pool") else self._conv(name, x, train)
            if name in self.taps:
                tapped[name] = x.astype(jnp.float32)
        return tapped[self.taps[0]] if self.single else tapped

    def _conv(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        block = int(name.removeprefix("conv").split("_")[0])
        features = max(1, round(self.width * self.blocks[block - 1][0]))
        x = Conv(
            features,
            3,
            padding=1,
            dtype=self.dtype,
            kernel_init=HE_FAN_IN,
            name=name,
        )(x)
        return nn.relu(_normalised(self, name, x, train))


class VGGHead(nn.Module):
    """Linear layers; see `vgg_head`, whose names and sizes are paired in `layers`."""

    layers: tuple[tuple[str, int], ...]
    last_relu: bool
    norm_layers: frozenset[str]
    dropout: float
    dtype: Any
    bn_span: int | None
    axis_name: str | None

    @nn.compact
    def __call__(
        self, features: jax.Array, *, train: bool, examples: jax.Array | None = None
    ) -> jax.Array:
        """Return the last layer [B, units], float32, of features [B, ...]."""
        # Not -1, which says nothing where there is no example.
        x = features.reshape(features.shape[0], math.prod(features.shape[1:]))
        for name, units in self.layers:
            relu = self.last_relu or name != self.layers[-1][0]
            init = HE_FAN_IN if relu else nn.initializers.normal(0.01)
            dense = nn.Dense(units, dtype=self.dtype, kernel_init=init, name=name)
            x = _normalised(self, name, dense(x), train)
            if relu:
                x = Dropout(self.dropout)(nn.relu(x), examples, train=train)
        return x.astype(jnp.float32)


def _normalised(
    module: VGG16 | VGGHead, name: str, x: jax.Array, train: bool
) -> jax.Array:
    if name not in module.norm_layers:
        return x
    norm = BatchNorm(
        span=module.bn_span,
        axis_name=module.axis_name,
        epsilon=EPSILON,
        dtype=module.dtype,
        affine=False,
        name=f"{name}_bn",
    )
    return norm(x, train=train)


def _max_pool(x: jax.Array) -> jax.Array:
    if min(x.shape[1:3]) < 2:
        raise InputError(
            "VGG16 halves its images at every pool, with all blocks five times; got "
            f"{x.shape[1]}x{x.shape[2]} pixels before one: take images of at least 32 "
            "pixels, or an earlier tap"
        )
    return max_pool(x, 2, 2)


def _folded(layer: Mapping[str, jax.Array], statistics: Any) -> dict[str, jax.Array]:
    inverse = jax.lax.rsqrt(statistics["var"] + EPSILON)
    kernel = layer["kernel"]
    last = inverse.reshape((1,) * (kernel.ndim - 1) + (-1,))
    bias = (layer["bias"] - statistics["mean"]) * inverse
    return {"kernel": kernel * last, "bias": bias}


def _require_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    # A string is a sequence of its letters.
    given = (names,) if isinstance(names, str) else names
    unknown = [name for name in given if name not in known]
    if unknown or isinstance(names, str):
        raise InputError(
            f"{what} must be one of {', '.join(known)}; got "
            f"{', '.join(map(repr, unknown or given))}: choose of these, in a tuple"
        )
