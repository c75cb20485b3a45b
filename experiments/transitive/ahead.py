"""The triplet network's training step, compiled for devices that need not be here."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.transitive.config import Config
from experiments.transitive.triplet import TripletSteps
from lars_jax.train import DataParallel


def compile_training(config: Config, mesh: Mesh, memory: int) -> tuple[str, Any]:
    """Return a line about a step, and the compiled step.

    Crops come from the host, as those of many videos do.

    Args:
        config: of the pipeline, checked.
        mesh: all devices that it would have.
        memory: bytes of each; a batch of pairs, which are one another's negatives, is
            not cut by it.

    Raises:
        InputError: the pairs of a batch do not divide over the devices.
    """
    del memory
    parallel, crop = DataParallel(mesh), config.tracking.crop
    size = config.model.image_size or crop
    multitask = config.triplet.context_weight > 0
    steps = TripletSteps.create(config, size, parallel, context=multitask)
    pairs = config.triplet.global_batch // 2
    batch = {
        "image": jax.ShapeDtypeStruct((pairs, 2, crop, crop, 3), jnp.uint8),
        "node": jax.ShapeDtypeStruct((pairs, 2), jnp.int32),
        "place": jax.ShapeDtypeStruct((pairs, 2), jnp.int32),
        "parent": jax.ShapeDtypeStruct((pairs,), jnp.int32),
    }
    if multitask:
        side = config.context.patch
        batch |= {
            "context/pair": jax.ShapeDtypeStruct((pairs, 2, side, side, 3), jnp.uint8),
            "context/label": jax.ShapeDtypeStruct((pairs,), jnp.int32),
            "context/number": jax.ShapeDtypeStruct((pairs,), jnp.int32),
        }
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    state = jax.eval_shape(steps.drawn)
    line = f"{pairs:,} pairs of crops a step, {size} pixels a side"
    return line, steps.train_step.compile(*parallel.placed(state, batch, shared))
