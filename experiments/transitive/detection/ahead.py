"""The training step of a detector, compiled for devices that need not be here."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.transitive.detection.batches import whole_canvases
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.network import Detector
from experiments.transitive.detection.program import (
    drawn_state,
    region_rows,
    train_step,
)
from lars_jax.train import DataParallel
from lars_jax.train.ahead import AheadOfTime

VOC_CLASSES, COCO_CLASSES = 20, 80
"""Classes of the data sets of the paper."""

OBJECTS = 64
"""Objects of the fullest picture, about as COCO has."""


def compile_training(config: Config, mesh: Mesh, memory: int) -> tuple[str, Any]:
    """Return a line about a step, and the compiled step for pictures that lie.

    Args:
        config: of the detector, checked.
        mesh: all devices that it would have.
        memory: bytes of each; a batch is not cut by it.

    Raises:
        InputError: the batch does not divide over the devices.
    """
    del memory
    parallel = DataParallel(mesh)
    parallel.check_divides(config.global_batch)
    detector = Detector(config, assumed_classes(config))
    step = AheadOfTime(parallel.compile(functools.partial(train_step, detector)))
    state = jax.eval_shape(functools.partial(drawn_state, detector))
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    batch = batch_shapes(config)
    height, width = batch["image"].shape[1:3]
    line = f"{config.global_batch} pictures a step, {height} x {width} pixels"
    return line, step.compile(*parallel.placed(state, batch, shared))


def assumed_classes(config: Config) -> int:
    """Return the classes that the data set of a configuration is taken to have."""
    return COCO_CLASSES if config.data.dataset.startswith("coco:") else VOC_CLASSES


def batch_shapes(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a batch of the largest pictures that lie.

    >>> batch_shapes(Config())["image"].shape
    (2, 608, 1024, 3)
    """
    batch, data = config.global_batch, config.data
    height, width = whole_canvases(data.short_side, data.long_side)["lying"]
    rows = region_rows(config, train=True)

    def of(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    return {
        "image": of((height, width, 3), jnp.uint8),
        "size": of((2,), jnp.float32),
        "boxes": of((OBJECTS, 4), jnp.float32),
        "classes": of((OBJECTS,), jnp.int32),
        "usable": of((OBJECTS,), jnp.bool),
        "regions": of((rows, 4), jnp.float32),
        "proposed": of((rows,), jnp.bool),
    }
