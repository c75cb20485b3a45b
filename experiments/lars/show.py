"""What a preset is, told without running it: settings, parameters, memory.

Everything comes from shapes alone and takes seconds, but for one thing: with
`--device-memory` a step is compiled for this machine, to say what fits such a device.
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import AbstractMesh

from experiments.lars.config import Config
from experiments.lars.microbatches import (
    choose_microbatches,
    device_memory,
    with_microbatches,
)
from experiments.lars.shapes import (
    CLASSES,
    Setting,
    Shapes,
    assumed_facts,
    fed_shape,
    residual_bytes,
    shapes,
    tree_bytes,
)
from lars_jax.optim import leaf_names
from lars_jax.train import DataParallel, data_mesh, state_shardings
from lars_jax.train.config import flatten, to_json
from lars_jax.train.parallel import AXIS
from lars_jax.train.sharding import shard_shapes


def describe(config: Config) -> Iterator[str]:
    """Yield the lines of `show`: settings, parameter table, memory estimate."""
    for name, value in flatten(to_json(config)).items():
        yield f"{name:30} {value}"
    if config.data.dataset not in CLASSES:
        yield f"({config.data.dataset} is not opened: taken to be like ImageNet)"
    cut, reason = _cut(config)
    found = shapes(cut)
    params = found.before.params
    yield ""
    yield from parameter_table(params)
    yield ""
    yield f"micro-batches: {reason}"
    yield "memory at full size over all devices, from shapes alone:"
    for name, value in _memory(cut, found).items():
        yield f"  {name:34} {value / 2**20:14,.1f} MiB"


def parameter_table(params: Any) -> Iterator[str]:
    """Yield a line for each parameter, its shape and size, and the sum."""
    leaves = jax.tree.leaves(params)
    for name, leaf in zip(leaf_names(params), leaves, strict=True):
        yield f"{name:40} {leaf.shape!s:20} {leaf.size:>12,}"
    yield f"{'parameters':61} {sum(leaf.size for leaf in leaves):>12,}"


def _cut(config: Config) -> tuple[Config, str]:
    """Return the configuration with its parts as numbers, and a line about them."""
    if config.microbatches == "auto" and config.device_memory is None:
        whole = with_microbatches(config, 1, config.devices or 1)
        return whole, "as few as fit, here one; --device-memory GIB tells how many"
    facts = assumed_facts(config)
    parallel = DataParallel(data_mesh(config.devices), config.backend)
    setting = Setting(parallel, facts, fed_shape(config.data, facts))
    limit = device_memory(config, parallel)
    found = choose_microbatches(config, setting, limit)
    return found.config, found.reason


def _memory(config: Config, found: Shapes) -> dict[str, int]:
    parameters = tree_bytes(found.before.params)
    residuals = residual_bytes(config)
    rows = {
        "parameters": parameters,
        "gradients": parameters,
        "accumulated gradients": parameters if config.parts > 1 else 0,
        "optimizer state": tree_bytes(found.before.opt_state),
        "batch statistics": tree_bytes(found.before.model_state),
        "kept for the backward pass": residuals,
        "one global batch of images": tree_bytes(found.batch),
    }
    part = config.global_batch // config.parts
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
