"""The network of context prediction, and what happens to its patches on the device.

Doersch et al., Figure 3, with VGG16 in place of AlexNet: two towers of the same weights
up to fc6, which fc7 to fc9 compare. Batch normalisation without scale and shift follows
the convolutions of blocks 3 to 5, fc6 and fc7, as in the authors' published network;
which layers it follows in theirs of VGG16 is not public.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.transitive.config import ModelConfig
from experiments.transitive.context import OFFSETS
from experiments.transitive.networks import scale_rms, trunk_layers, trunk_network
from lars_jax.errors import InputError
from lars_jax.models import Network, chain, fold_batch_norm, vgg_head

UNITS = 4096
"""Units of fc6, fc7 and fc8 at full width."""

NOISE = 0.5
"""Largest value of what takes the place of a dropped colour, in grey levels."""


def context_network(config: ModelConfig, *, normalised: bool = True) -> Network:
    """Return the network from pairs of patches to logits of the eight labels.

    Args:
        config: width and dtype.
        normalised: whether it has batch normalisation.

    Returns:
        A network from patches float32 [B, 2, P, P, 3] to logits float32 [B, 8]. Its
        parameters are `tower/trunk/conv1_1` to `conv5_3`, which are those of `vgg16`,
        `tower/head/fc6`, and `joint/fc7` to `fc9`. Its `apply` raises `InputError` for
        patches of another shape.

    Reference:
        Doersch, Gupta, Efros: Unsupervised Visual Representation Learning by Context
        Prediction, 2015, https://arxiv.org/abs/1505.05192

    >>> network = context_network(ModelConfig(width=0.25))
    >>> pairs = jax.ShapeDtypeStruct((1, 2, 96, 96, 3), jnp.float32)
    >>> params, _ = jax.eval_shape(lambda: network.init(jax.random.key(0), pairs))
    >>> params["joint"]["fc7"]["kernel"].shape
    (2048, 1024)
    """
    dtype, units = jnp.dtype(config.dtype), max(1, round(config.width * UNITS))

    def norm(*names: str) -> tuple[str, ...]:
        return names if normalised else ()

    tower = chain(
        trunk=trunk_network(config, norm_layers=norm(*norm_convolutions(config))),
        head=vgg_head((units,), norm_layers=norm("fc6"), dtype=dtype),
    )
    joint = vgg_head(
        (units, units, len(OFFSETS)),
        first=7,
        last_relu=False,
        norm_layers=norm("fc7"),
        dtype=dtype,
    )
    return chain(tower=_of_each(tower), joint=joint)


def norm_convolutions(config: ModelConfig) -> tuple[str, ...]:
    """Return the convolutions that batch normalisation follows: those from conv3 on.

    >>> norm_convolutions(ModelConfig(network="small"))
    ('conv3_1', 'conv4_1')
    """
    return tuple(name for name in trunk_layers(config) if "conv3" <= name < "pool")


def convolutions(params: Any, model_state: Any) -> Any:
    """Return the parameters of `vgg16` that a context network ends with.

    Args:
        params: of `context_network`.
        model_state: its running statistics, which are folded into the weights.

    Returns:
        Parameters of `vgg16` of the same width without batch normalisation.
    """
    return fold_batch_norm(params["tower"]["trunk"], model_state["tower"]["trunk"])


def drop_colours(key: jax.Array, patch: jax.Array) -> jax.Array:
    """Return a patch with one colour left and noise in place of the two others.

    A lens bends colours differently, which would tell a patch's place in a photograph.

    Args:
        key: what colour and noise are drawn by.
        patch: uint8 or float [P, P, 3].

    Returns:
        float32 [P, P, 3]: one channel less its mean, and uniform in -0.5 .. 0.5.

    >>> patch = jnp.arange(12.0).reshape(2, 2, 3)
    >>> dropped = drop_colours(jax.random.key(0), patch)
    >>> print(jnp.abs(dropped).max(axis=(0, 1)) > NOISE)
    [False  True False]
    """
    channel_key, noise_key = jax.random.split(key)
    wide = patch.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=(0, 1), keepdims=True)
    noise = jax.random.uniform(noise_key, patch.shape, jnp.float32, -NOISE, NOISE)
    kept = jax.random.randint(channel_key, (), 0, 3, jnp.int32)
    channel = jnp.arange(3, dtype=jnp.int32).reshape(1, 1, 3)
    return jnp.where(channel == kept, centred, noise)


def noisy_pairs(key: jax.Array, pairs: jax.Array, numbers: jax.Array) -> jax.Array:
    """Return pairs of patches as the network is trained on them.

    Args:
        key: key of the step.
        pairs: uint8 [B, 2, P, P, 3].
        numbers: int32 [B], what tells the draws of pairs apart.

    Returns:
        float32 [B, 2, P, P, 3], colours dropped and scaled to `RMS`.
    """

    def one(number: jax.Array, pair: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.fold_in(key, number))
        return jax.vmap(drop_colours)(keys, pair)

    return scale_rms(jax.vmap(one)(numbers, pairs))


def context_losses(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return cross-entropy float32 [B], and whether the best of the labels is right.

    Args:
        logits: [B, 8].
        labels: int32 [B].

    >>> losses, right = context_losses(jnp.zeros((1, 8)), jnp.array([0]))
    >>> print(losses.round(3), right)
    [2.079] [ True]
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses, jnp.argmax(logits, axis=-1) == labels


def _of_each(tower: Network) -> Network:
    """Return the network that puts the features of both patches side by side."""

    def init(key: jax.Array, inputs: Any) -> Any:
        _require_pairs(inputs)
        shape = (2 * inputs.shape[0], *inputs.shape[2:])
        return tower.init(key, jax.ShapeDtypeStruct(shape, inputs.dtype))

    def apply(
        params: Any,
        model_state: Any,
        inputs: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        examples: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        del key, examples  # Nothing is dropped.
        _require_pairs(inputs)
        # One pass over both, so that batch normalisation sees what it sees of all.
        patches = inputs.reshape(-1, *inputs.shape[2:])
        features, after = tower.apply(params, model_state, patches, train=train)
        return features.reshape(inputs.shape[0], 2 * features.shape[-1]), after

    return Network(init, apply)


def _require_pairs(pairs: Any) -> None:
    if len(pairs.shape) != 5 or pairs.shape[1] != 2:
        raise InputError(
            "context is predicted from pairs of patches [batch, 2, side, side, 3]; got "
            f"{list(pairs.shape)}: stack the two"
        )
