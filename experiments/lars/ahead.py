"""The training step of a configuration, compiled for devices that need not be here."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.lars.config import Config
from experiments.lars.inputs import DEVICE_LIMIT
from experiments.lars.microbatches import choose_microbatches, compile_step
from experiments.lars.program import ImageFacts
from experiments.lars.shapes import (
    Setting,
    assumed_facts,
    fed_shape,
    key_shape,
    tree_bytes,
)
from lars_jax.data import KNOWN_SIZES, ResidentImages
from lars_jax.train import DataParallel
from lars_jax.train.config import replace_fields


def compile_training(config: Config, mesh: Mesh, memory: int) -> tuple[str, Any]:
    """Return how a batch is cut, in a line, and the compiled training step.

    Data are not opened: their sizes are those that their makers publish.

    Args:
        config: the run, checked.
        mesh: all devices that it would have.
        memory: bytes of each, for a number of micro-batches that is left to it.

    Raises:
        InputError: the batch cannot be shared out over the devices, or does not fit.
    """
    parallel = DataParallel(mesh, config.backend)
    config = replace_fields(config, devices=parallel.num_devices)
    setting = assumed_setting(config, parallel)
    found = choose_microbatches(config, setting, memory)
    step = found.train_step or compile_step(found.config, setting)[0]
    return found.reason, step.compile()


def assumed_setting(config: Config, parallel: DataParallel) -> Setting:
    """Return what the steps of a configuration would be given, without its data."""
    facts = assumed_facts(config)
    train, test = assumed_data(config, facts)
    if not train:
        return Setting(parallel, facts, fed_shape(config.data, facts))
    shared = {"key": key_shape()} | train
    return Setting(parallel, facts, None, shared, tree_bytes(test))


def assumed_data(
    config: Config, facts: ImageFacts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return shapes of what lies on the device to train on and to evaluate, or none.

    A data set that is not of `KNOWN_SIZES` is taken to be fed by the host, as random
    parts of images always are.

    >>> train, test = assumed_data(Config(), assumed_facts(Config()))
    >>> train["label"].shape, test["label"].shape
    ((1437,), (360,))
    """
    data = config.data
    known = KNOWN_SIZES.get(data.dataset)
    fed = data.placement == "host" or data.augmentation == "random_resized_crop"
    if fed or known is None:
        return {}, {}
    side = data.resize or known.side
    whole = known.train * side**2 * facts.channels
    if data.placement == "auto" and whole > DEVICE_LIMIT:
        return {}, {}
    held = data.holdout
    train, test = known.train - held, held or known.test
    return _stored(train, side, facts), _stored(test, side, facts)


def _stored(count: int, side: int, facts: ImageFacts) -> dict[str, Any]:
    return {
        "image": ResidentImages.like(count, (side, side, facts.channels)),
        "label": jax.ShapeDtypeStruct((count,), jnp.int32),
    }
