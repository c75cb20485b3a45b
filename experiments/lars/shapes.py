"""A training step by its shapes alone: what goes in, what comes out, what it keeps.

Everything here comes from `jax.eval_shape`, so a step for a pod is known on a laptop
in seconds.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from experiments.lars.config import Config, DataConfig
from experiments.lars.program import (
    ImageFacts,
    Shared,
    make_loss,
    make_network,
    make_train_step,
    placement,
    state_shapes,
)
from lars_jax.data import known_statistics
from lars_jax.train import DataParallel, TrainState
from lars_jax.train.sharding import shard_shapes

CLASSES = {"digits": 10, "cifar10": 10, "imagenet2012": 1000}
"""Classes of the data sets that presets name; another is taken to be like ImageNet."""

BatchShapes = dict[str, jax.ShapeDtypeStruct]


@dataclass(frozen=True)
class Shapes:
    """One full-size training step by its shapes alone.

    Attributes:
        before: the state that goes in.
        after: the state that comes out; a step is sound if its shapes are the same.
        metrics: what the step reports.
        batch: one global batch of images as the host feeds it.
    """

    before: TrainState
    after: TrainState
    metrics: dict[str, Any]
    batch: BatchShapes


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


def shapes(config: Config) -> Shapes:
    """Type-check one training step of a configuration at full size.

    Args:
        config: the run, its micro-batches resolved.

    >>> from experiments.lars.config import replace
    >>> from experiments.lars.presets import get_preset
    >>> found = shapes(replace(get_preset("smoke").config, microbatches=1))
    >>> found.before == found.after
    True
    """
    facts = assumed_facts(config)
    batch = batch_shapes(config.global_batch, fed_shape(config.data, facts))
    before = state_shapes(config, facts)
    step = make_train_step(config, facts, make_network(config, facts))
    after, metrics = jax.eval_shape(step, before, batch, {"key": key_shape()})
    return Shapes(before, after, metrics, batch)


def resident_bytes(config: Config, setting: Setting) -> tuple[int, int]:
    """Return the bytes of state and shared data on a device, and those of gradients.

    Args:
        config: the run, its ghost batch resolved.
        setting: what its steps are given.
    """
    facts, parallel = setting.facts, setting.parallel
    state = state_shapes(config, facts)
    placed = placement(config, facts, parallel).state
    own = tree_bytes(state if placed is None else shard_shapes(state, placed))
    # Only pmap keeps the old state beside the new one.
    states = 2 if parallel.backend == "pmap" else 1
    return states * own + tree_bytes(setting.shared), tree_bytes(state.params)


def residual_bytes(config: Config, facts: ImageFacts | None = None) -> int:
    """Return what the forward pass of a micro-batch keeps for its backward pass.

    It is what differentiation asks for, before the compiler fuses anything, and so
    more than what a compiled step will hold.

    Args:
        config: the run, its micro-batches resolved.
        facts: of its data; None: those that its name promises.
    """
    facts = assumed_facts(config) if facts is None else facts
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

    return tree_bytes(jax.eval_shape(backward, state_shapes(config, facts), part, key))


def key_shape() -> Any:
    """Return the shape of a random key."""
    return jax.eval_shape(lambda: jax.random.key(0))


def batch_shapes(count: int, image: tuple[int, ...] | None) -> BatchShapes:
    """Return the shapes of a batch.

    Args:
        count: examples.
        image: shape of an image that the host feeds, [H, W, C]; None where a batch
            only points to images that lie on the device.

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
    # A random resized crop is cut on the host, so resize has no say in it.
    if data.augmentation == "random_resized_crop":
        sides = (data.image_size, data.image_size)
    elif data.resize is not None:
        sides = (data.resize, data.resize)
    else:
        sides = own or (data.image_size, data.image_size)
    return *sides, facts.channels


def assumed_facts(config: Config) -> ImageFacts:
    """Return the facts of the data set that a configuration names, without opening it.

    >>> assumed_facts(Config()).num_classes
    10
    """
    dataset = config.data.dataset
    name = dataset if dataset in CLASSES else "imagenet2012"
    statistics = known_statistics(name)
    if statistics is None:
        raise AssertionError(f"{name} has no known statistics")
    mean, std = statistics
    return ImageFacts(CLASSES[name], len(mean), tuple(mean), tuple(std))


def tree_bytes(tree: Any) -> int:
    """Return the bytes of a tree of arrays or shapes; keys count nothing.

    >>> tree_bytes({"a": jnp.zeros((2, 3), jnp.float32)})
    24
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
    arrays = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(x.size * x.dtype.itemsize for x in arrays)
