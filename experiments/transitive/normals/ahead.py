"""The training step of normals, compiled for devices that need not be here."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.transitive.normals.config import Config
from experiments.transitive.normals.program import drawn_state, train_step
from lars_jax.train import DataParallel
from lars_jax.train.ahead import AheadOfTime


def compile_training(config: Config, mesh: Mesh, memory: int) -> tuple[str, Any]:
    """Return a line about a step, and the compiled step.

    Args:
        config: of the network, checked.
        mesh: all devices that it would have.
        memory: bytes of each; a batch is not cut by it.

    Raises:
        InputError: the batch does not divide over the devices.
    """
    del memory
    parallel = DataParallel(mesh)
    parallel.check_divides(config.global_batch)
    step = AheadOfTime(parallel.compile(partial(train_step, config)))
    state = jax.eval_shape(partial(drawn_state, config))
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    batch = batch_shapes(config)
    line = (
        f"{config.global_batch} frames a step, {config.data.height} x "
        f"{config.data.length} pixels"
    )
    return line, step.compile(*parallel.placed(state, batch, shared))


def batch_shapes(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a batch.

    >>> batch_shapes(Config())["normals"].shape
    (1, 480, 640, 3)
    """
    frames = (config.global_batch, config.data.height, config.data.length)
    return {
        "image": jax.ShapeDtypeStruct((*frames, 3), jnp.uint8),
        "normals": jax.ShapeDtypeStruct((*frames, 3), jnp.float16),
        "valid": jax.ShapeDtypeStruct(frames, jnp.bool),
    }
