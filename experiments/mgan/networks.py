"""The networks of the players: K generators, and one trunk with two heads.

The generators share every layer but the first; discriminator and classifier share
every layer but the last (Section 3, Figure 1). The K first layers are one kernel
[Z, K, H], so that the samples of all generators come out of one matrix product, as
[M, K, ...], and everything after it sees one batch of M K samples.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.mgan.config import Config, in_plane
from experiments.mgan.objectives import Logits
from experiments.mgan.strided import SIZE, double, halve
from lars_jax.models import BATCH_NORM_MOMENTUM, Network, from_linen

_leaky = partial(nn.leaky_relu, negative_slope=0.2)
"""LeakyReLU with the slope of Section 5 (vi)."""

HEAD_DEVIATION = 0.01
"""Standard deviation of the first weights of both heads for images, as the authors'."""

BN_EPSILON = 1e-5


def make_generators(config: Config, channels: int = 3) -> Network:
    """Return the K generators as one network.

    Args:
        config: of the game.
        channels: of images.

    Returns:
        A network from noise [M, Z], the same for all, or [M, K, Z], to samples
        [M, K, 2] or [M, K, S, S, channels], images within [-1, 1].

    >>> network = make_generators(Config())
    >>> params, _ = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 256)))
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(params)))
    279938
    """
    model, count = config.model, config.rules.generators
    init = nn.initializers.normal(model.init_deviation)
    if in_plane(config):
        return from_linen(PlaneGenerators(count, model.width, init))
    return from_linen(
        ImageGenerators(
            count,
            sizes=sizes_of(config.data.image_size, model.stages),
            width=model.width,
            channels=channels,
            kernel_init=init,
        )
    )


def make_discriminator(config: Config) -> Network:
    """Return discriminator and classifier as one network.

    Returns:
        A network from samples [N, ...] to a `Logits` of logits [N] and [N, K]; for
        D2GAN, to the logits of its two discriminators, [N, 2].

    >>> network = make_discriminator(Config())
    >>> params, _ = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 2)))
    >>> print(sum(leaf.size for leaf in jax.tree.leaves(params)))
    1545
    """
    model, count = config.model, config.rules.generators
    init = nn.initializers.normal(model.init_deviation)
    if config.rules.game == "d2gan":
        return from_linen(TwoDiscriminators(model.width, init))
    if in_plane(config):
        return from_linen(PlaneDiscriminator(count, model.width, init))
    truncated = nn.initializers.truncated_normal(model.init_deviation)
    return from_linen(ImageDiscriminator(count, model.width, model.stages, truncated))


def stacked_axes(params: Any) -> Any:
    """Return for each parameter the axis that counts generators, or None.

    An optimizer that takes norms of layers must be told: one trust ratio for all first
    layers would let the generator of the largest gradient throttle the others.

    >>> stacked_axes({"first": {"kernel": 0.0, "bias": 0.0}, "second": {"bias": 0.0}})
    {'first': {'bias': 0, 'kernel': 1}, 'second': {'bias': None}}
    """

    def axis(path: Any, leaf: Any) -> int | None:
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if not any(name in ("first", "first_norm") for name in names):
            return None
        return 1 if names[-1] == "kernel" else 0

    return jax.tree.map_with_path(axis, params)


def sizes_of(size: int, stages: int) -> tuple[int, ...]:
    """Return the heights of an image as convolutions halve it, the smallest first.

    >>> sizes_of(28, 3)
    (4, 7, 14, 28)
    """
    sizes = [size]
    for _ in range(stages):
        sizes.append(-(-sizes[-1] // 2))
    return tuple(reversed(sizes))


class FirstLayers(nn.Module):
    """One dense layer for each of K generators, as one product."""

    generators: int
    features: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, noise: jax.Array) -> jax.Array:
        """Return [M, K, H] of noise [M, Z], the same for all, or [M, K, Z]."""
        inputs, shape = noise.shape[-1], (self.generators, self.features)
        kernel = self.param("kernel", self.kernel_init, (inputs, *shape))
        bias = self.param("bias", nn.initializers.zeros, shape)
        if noise.ndim == 2:
            # One product for all: a loop over generators, or vmap, takes up to 8 times
            # as long on a CPU.
            hidden = noise @ kernel.reshape(inputs, -1)
            return hidden.reshape(-1, *shape) + bias[None]
        return jnp.einsum("mkz,zkh->mkh", noise, kernel) + bias[None]


class Strided(nn.Module):
    """A convolution that halves or doubles an image, and a bias."""

    features: int
    convolution: Callable[[jax.Array, jax.Array], jax.Array]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return images [B, ..., features] of images [B, H, W, C]."""
        shape = (SIZE, SIZE, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return self.convolution(x, kernel) + bias[None, None, None]


class BatchNorm(nn.Module):
    """Normalisation over all axes but the last, by the batch or by running averages.

    Attributes:
        axes: axes to average over.
        shift: whether it has a shift beside its scale.
        running: whether it keeps averages for use outside of training; one that does
            not always normalises by the batch.
    """

    axes: tuple[int, ...]
    shift: bool = True
    running: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return the normalised `x`."""
        kept = tuple(n for i, n in enumerate(x.shape) if i not in self.axes)
        scale = self.param("scale", nn.initializers.ones, kept)
        mean, variance = jnp.mean(x, self.axes), jnp.var(x, self.axes)
        if self.running:
            means = self.variable("batch_stats", "mean", jnp.zeros, kept)
            variances = self.variable("batch_stats", "var", jnp.ones, kept)
            if train:
                for average, value in ((means, mean), (variances, variance)):
                    old = BATCH_NORM_MOMENTUM * average.value
                    moved = old + (1 - BATCH_NORM_MOMENTUM) * value
                    average.value = jax.lax.stop_gradient(moved)
            else:
                mean, variance = means.value, variances.value
        lift = partial(jnp.expand_dims, axis=self.axes)
        y = (x - lift(mean)) * lift(scale * jax.lax.rsqrt(variance + BN_EPSILON))
        if self.shift:
            y = y + lift(self.param("bias", nn.initializers.zeros, kept))
        return y


class PlaneGenerators(nn.Module):
    """Noise, one hidden layer each, one hidden layer shared, a point."""

    generators: int
    width: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, noise: jax.Array, *, train: bool) -> jax.Array:
        """Return points [M, K, 2]."""
        first = FirstLayers(self.generators, self.width, self.kernel_init, name="first")
        hidden = nn.relu(first(noise)).reshape(-1, self.width)
        dense = partial(nn.Dense, kernel_init=self.kernel_init)
        hidden = nn.relu(dense(self.width, name="second")(hidden))
        return dense(2, name="output")(hidden).reshape(-1, self.generators, 2)


class PlaneDiscriminator(nn.Module):
    """One hidden layer under the two heads."""

    generators: int
    width: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, points: jax.Array, *, train: bool) -> Logits:
        """Return the logits of points [N, 2]."""
        trunk = nn.Dense(self.width, kernel_init=self.kernel_init, name="trunk")
        return _heads(_leaky(trunk(points)), self.generators, self.kernel_init)


class TwoDiscriminators(nn.Module):
    """Two discriminators that share nothing."""

    width: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, points: jax.Array, *, train: bool) -> jax.Array:
        """Return the logits of both, [N, 2]."""
        dense, logits = partial(nn.Dense, kernel_init=self.kernel_init), []
        for name in ("data", "model"):
            trunk = dense(self.width, name=f"{name}_trunk")(points)
            logits.append(dense(1, name=f"{name}_head")(_leaky(trunk)))
        return jnp.concatenate(logits, axis=-1)


class ImageGenerators(nn.Module):
    """Noise, one dense layer each, transposed convolutions shared, an image.

    Attributes:
        generators: K.
        sizes: heights of the images between layers, the smallest first.
        width: channels before the last layer; each earlier stage has twice as many.
        channels: of the image.
        kernel_init: initialiser of kernels.
    """

    generators: int
    sizes: tuple[int, ...]
    width: int
    channels: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, noise: jax.Array, *, train: bool) -> jax.Array:
        """Return images [M, K, S, S, channels], from -1 to 1."""
        size, stages = self.sizes[0], len(self.sizes) - 1
        features = self.width * 2 ** (stages - 1)
        first = FirstLayers(
            self.generators, size * size * features, self.kernel_init, name="first"
        )
        # Each generator is normalised over its own samples.
        hidden = BatchNorm((0,), name="first_norm")(first(noise), train=train)
        x = nn.relu(hidden).reshape(-1, size, size, features)
        up = partial(Strided, convolution=double, kernel_init=self.kernel_init)
        for stage, size in enumerate(self.sizes[1:-1]):
            features //= 2
            x = up(features, name=f"up{stage + 1}")(x)[:, :size, :size]
            norm = BatchNorm((0, 1, 2), shift=False, name=f"up{stage + 1}_norm")
            x = nn.relu(norm(x, train=train))
        size = self.sizes[-1]
        x = jnp.tanh(up(self.channels, name="output")(x)[:, :size, :size])
        return x.reshape(-1, self.generators, size, size, self.channels)


class ImageDiscriminator(nn.Module):
    """Convolutions, each halving the image, under the two heads.

    Always normalised by its batch. The data and the samples are two batches, since
    statistics of both together would tell one from the other.
    """

    generators: int
    width: int
    stages: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> Logits:
        """Return the logits of images [N, S, S, channels]."""
        x = images
        for stage in range(self.stages):
            features, name = self.width * 2**stage, f"down{stage + 1}"
            x = Strided(features, halve, self.kernel_init, name=name)(x)
            norm = BatchNorm((0, 1, 2), running=False, name=f"{name}_norm")
            x = _leaky(norm(x, train=train))
        head_init = nn.initializers.normal(HEAD_DEVIATION)
        return _heads(x.reshape(len(x), -1), self.generators, head_init)


def _heads(
    features: jax.Array, generators: int, init: nn.initializers.Initializer
) -> Logits:
    realness = nn.Dense(1, kernel_init=init, name="discriminator")(features)
    kinds = nn.Dense(generators, kernel_init=init, name="classifier")(features)
    return Logits(realness[:, 0], kinds)
