"""A training step by its shapes alone, so that one for a pod is known on a laptop."""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from experiments.lars.config import Config, DataConfig
from experiments.lars.program import ImageFacts, Shared, make_loss, make_network
from lars_jax.data import known_statistics
from lars_jax.train import DataParallel, TrainState

CLASSES = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "imagenet2012": 1000}
"""Classes of the data sets that presets name; another is taken to be like ImageNet."""


def key_shape() -> Any:
    """Return the shape of a random key."""
    return jax.eval_shape(lambda: jax.random.key(0))


@dataclass(frozen=True)
class Setting:
    """What a step is given besides its configuration, arrays or their shapes.

    Attributes:
        parallel: the mesh and the back-end.
        facts: of the data.
        image: shape of an image that the host feeds, [H, W, C]; None where images
            lie on the device.
        shared: what every step is given besides state and batch.
        beside: bytes on each device that no step is given.
    """

    parallel: DataParallel
    facts: ImageFacts
    image: tuple[int, ...] | None
    shared: Shared = field(default_factory=lambda: {"key": key_shape()})
    beside: int = 0


def residual_bytes(config: Config, facts: ImageFacts, state: TrainState) -> int:
    """Return what the forward pass of a micro-batch keeps for its backward pass.

    It is what differentiation asks for, before the compiler fuses anything, and so
    more than what a compiled step will hold.

    Args:
        config: the run, its micro-batches resolved.
        facts: of its data.
        state: the shapes of its state.
    """
    network, key = make_network(config, facts), key_shape()
    count = config.global_batch // config.parts
    part = batch_shapes(count, fed_shape(config.data, facts))

    def backward(state: TrainState, part: Any, key: jax.Array) -> Any:
        loss = make_loss(config, facts, network, {"key": key}, key)
        return jax.vjp(
            lambda params: loss(params, state.model_state, part, key),
            state.params,
            has_aux=True,
        )[1]

    return tree_bytes(jax.eval_shape(backward, state, part, key))


def batch_shapes(
    count: int, image: tuple[int, ...] | None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a batch of `count` examples.

    Args:
        count: examples.
        image: as `Setting` has it.

    >>> sorted(batch_shapes(64, None))
    ['epoch', 'index']
    """
    number = jax.ShapeDtypeStruct((count,), jnp.int32)
    rows = {"index": number, "epoch": number}
    if image is None:
        return rows
    pixels = jax.ShapeDtypeStruct((count, *image), jnp.uint8)
    return rows | {"image": pixels, "label": number}


def fed_shape(
    data: DataConfig, facts: ImageFacts, own: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Return the shape of an image as the host feeds it, [H, W, C].

    Args:
        data: how images are cut.
        facts: gives the channels.
        own: height and width as the images are stored; None: what the network sees.
    """
    seen = (data.image_size, data.image_size)
    # A random resized crop is cut on the host, so resize has no say in it.
    if data.augmentation == "random_resized_crop":
        return *seen, facts.channels
    resized = None if data.resize is None else (data.resize, data.resize)
    return *(resized or own or seen), facts.channels


def assumed_facts(config: Config) -> ImageFacts:
    """Return the facts of the data set that a configuration names, without opening it.

    >>> assumed_facts(Config()).num_classes
    10
    """
    dataset = config.data.dataset
    name = dataset if dataset in CLASSES else "imagenet2012"
    statistics = known_statistics(name)
    assert statistics is not None, name
    mean, std = statistics
    return ImageFacts(CLASSES[name], len(mean), tuple(mean), tuple(std))


def tree_bytes(tree: Any, *, shard: bool = False) -> int:
    """Return the bytes of a tree of arrays or shapes.

    Args:
        tree: any.
        shard: whether only what one device holds is counted, by their shardings.

    >>> tree_bytes({"a": jnp.zeros((2, 3), jnp.float32)})
    24
    """
    return sum(
        math.prod(x.sharding.shard_shape(x.shape) if shard else x.shape)
        * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )
