"""The program of a game, compiled for devices that need not be here."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.mgan.check import resolve_devices
from experiments.mgan.config import Config, in_plane
from experiments.mgan.game import make_players
from experiments.mgan.inputs import pick, plane_inputs
from experiments.mgan.show import image_channels, state_shapes
from experiments.mgan.trainer import make_call
from lars_jax.data import KNOWN_SIZES, ResidentImages
from lars_jax.train import DataParallel
from lars_jax.train.config import replace_fields


def compile_training(config: Config, mesh: Mesh, memory: int) -> tuple[str, Any]:
    """Return a line about a call, and the compiled program of its steps.

    Data are not opened: their sizes are those that their makers publish, and a set of
    other images is taken to have as many as CIFAR-10.

    Args:
        config: of the game.
        mesh: all devices that it would have.
        memory: bytes of each; a game has no parts to choose by it.

    Raises:
        InputError: a batch does not split evenly over the devices.
    """
    del memory
    parallel = DataParallel(mesh)
    config = replace_fields(config, devices=parallel.num_devices)
    resolve_devices(config, parallel.num_devices)
    steps, channels = config.steps_per_call, image_channels(config)
    rows: dict[str, Any] = {}
    shared: dict[str, Any] = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    if in_plane(config):
        draw = plane_inputs(config).draw
    else:
        draw, side = pick, config.data.image_size
        known = KNOWN_SIZES.get(config.data.dataset, KNOWN_SIZES["cifar10"])
        rows["index"] = jax.ShapeDtypeStruct((steps, config.batch), jnp.int32)
        shared["image"] = ResidentImages.like(known.train, (side, side, channels))
    call = make_call(config, make_players(config, channels), draw, parallel)
    state = state_shapes(config, channels)
    placed = jax.tree.map(
        lambda x: x.update(sharding=parallel.replicated), (state, rows, shared)
    )
    line = f"{steps} step{'s' * (steps > 1)} a call, {config.batch} real samples each"
    return line, call.compile(*placed)
