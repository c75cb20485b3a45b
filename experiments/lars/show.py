"""What a preset is, told without running it: settings, parameters, memory.

Everything here comes from `jax.eval_shape`, so a preset for a pod is described on a
laptop in seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from experiments.lars.config import Config
from experiments.lars.program import (
    ImageFacts,
    make_loss,
    make_network,
    make_train_step,
    state_shapes,
)
from lars_jax.data import known_statistics
from lars_jax.optim import leaf_names
from lars_jax.train import TrainState, state_shardings
from lars_jax.train.config import flatten, to_json
from lars_jax.train.parallel import AXIS
from lars_jax.train.sharding import shard_shapes

CLASSES = {"digits": 10, "cifar10": 10, "imagenet2012": 1000}
"""Classes of the data sets that presets name; another is taken to be like ImageNet."""


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
    batch: dict[str, jax.ShapeDtypeStruct]


def shapes(config: Config) -> Shapes:
    """Type-check one training step of a configuration at full size.

    >>> from experiments.lars.presets import get_preset
    >>> found = shapes(get_preset("smoke").config)
    >>> found.before == found.after
    True
    """
    facts = _facts(config.data.dataset)
    network = make_network(config, facts)
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = _batch(config, facts, config.global_batch)
    before = state_shapes(config, facts, network)
    step = make_train_step(config, facts, network)
    after, metrics = jax.eval_shape(step, before, batch, {"key": key})
    return Shapes(before, after, metrics, batch)


def residual_bytes(config: Config) -> int:
    """Return what the forward pass of a micro-batch keeps for its backward pass.

    It is what differentiation asks for, before the compiler fuses anything, and so
    more than what a compiled step will hold.
    """
    facts = _facts(config.data.dataset)
    network = make_network(config, facts)
    key = jax.eval_shape(lambda: jax.random.key(0))
    part = _batch(config, facts, config.global_batch // config.microbatches)
    before = state_shapes(config, facts, network)

    def backward(state: TrainState, part: Any, key: jax.Array) -> Any:
        loss = make_loss(config, facts, network, {"key": key}, key)
        return jax.vjp(
            lambda params: loss(params, state.model_state, part, key),
            state.params,
            has_aux=True,
        )[1]

    return tree_bytes(jax.eval_shape(backward, before, part, key))


def tree_bytes(tree: Any) -> int:
    """Return the bytes of a tree of arrays or shapes; keys count nothing.

    >>> tree_bytes({"a": jnp.zeros((2, 3), jnp.float32)})
    24
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
    arrays = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(x.size * x.dtype.itemsize for x in arrays)


def describe(config: Config) -> Iterator[str]:
    """Yield the lines of `show`: settings, parameter table, memory estimate."""
    for name, value in flatten(to_json(config)).items():
        yield f"{name:30} {value}"
    if config.data.dataset not in CLASSES:
        yield f"({config.data.dataset} is not opened: taken to be like ImageNet)"
    found = shapes(config)
    params = found.before.params
    yield ""
    yield from parameter_table(params)
    yield ""
    yield "memory at full size over all devices, from shapes alone:"
    for name, value in _memory(config, found).items():
        yield f"  {name:34} {value / 2**20:14,.1f} MiB"


def parameter_table(params: Any) -> Iterator[str]:
    """Yield a line for each parameter, its shape and size, and the sum."""
    leaves = jax.tree.leaves(params)
    for name, leaf in zip(leaf_names(params), leaves, strict=True):
        yield f"{name:40} {leaf.shape!s:20} {leaf.size:>12,}"
    yield f"{'parameters':61} {sum(leaf.size for leaf in leaves):>12,}"


def _facts(dataset: str) -> ImageFacts:
    name = dataset if dataset in CLASSES else "imagenet2012"
    statistics = known_statistics(name)
    if statistics is None:
        raise AssertionError(f"{name} has no known statistics")
    mean, std = statistics
    return ImageFacts(CLASSES[name], len(mean), tuple(mean), tuple(std))


def _batch(
    config: Config, facts: ImageFacts, count: int
) -> dict[str, jax.ShapeDtypeStruct]:
    size = config.data.resize or config.data.image_size
    number = jax.ShapeDtypeStruct((count,), jnp.int32)
    image = jax.ShapeDtypeStruct((count, size, size, facts.channels), jnp.uint8)
    return {"image": image, "label": number, "index": number, "epoch": number}


def _memory(config: Config, found: Shapes) -> dict[str, int]:
    parameters = tree_bytes(found.before.params)
    residuals = residual_bytes(config)
    rows = {
        "parameters": parameters,
        "gradients": parameters,
        "accumulated gradients": parameters if config.microbatches > 1 else 0,
        "optimizer state": tree_bytes(found.before.opt_state),
        "batch statistics": tree_bytes(found.before.model_state),
        "kept for the backward pass": residuals,
        "one global batch of images": tree_bytes(found.batch),
    }
    part = config.global_batch // config.microbatches
    return rows | {
        "sum": sum(rows.values()),
        "kept for the backward pass, an image": residuals // part,
        **_state_of_one_device(config, found),
    }


def _state_of_one_device(config: Config, found: Shapes) -> dict[str, int]:
    if config.state_sharding == "none":
        return {}
    devices = config.devices or jax.device_count()
    # The devices need not exist here.
    mesh = AbstractMesh((devices,), (AXIS,))
    placed = state_shardings(found.before, mesh, config.state_sharding)
    own = tree_bytes(shard_shapes(found.before, placed))
    return {f"state on each of {devices} devices": own}
