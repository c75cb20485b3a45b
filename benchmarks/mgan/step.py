"""What ten generators cost over one, and convolutions of stride one over others.

    python -m benchmarks.mgan.step

The games of a pair have the same trunk and make as many samples.
"""

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common.records import write_record
from benchmarks.common.rounds import Run, compare, repeat
from experiments.mgan import networks
from experiments.mgan.config import Config
from experiments.mgan.game import initial_state, make_players, make_step
from experiments.mgan.inputs import to_unit
from experiments.mgan.mixture import make_mixture
from experiments.mgan.presets import get_preset
from lars_jax.data import ResidentImages
from lars_jax.train.config import replace_fields

ROUNDS, ROUND_SECONDS = 9, 2.0
COMMAND = "python -m benchmarks.mgan.step"
FORM = ("NHWC", "HWIO", "NHWC")


def plain_halve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return what `halve` returns, as XLA does it."""
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=FORM
    )


def plain_double(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return what `double` returns, as XLA does it."""
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=FORM)


def image_run(config: Config, *, plain: bool = False) -> Run:
    """Return a run of steps of a game on random images."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), np.uint8)
    shared = {"key": jax.random.key(1), "image": ResidentImages.of(images)}
    batch = {"index": jnp.arange(config.batch)}

    def draw(key: jax.Array, row: Any, shared: Any) -> jax.Array:
        del key
        return to_unit(shared["image"][row["index"]])

    ways = {"halve": plain_halve, "double": plain_double} if plain else {}
    with contextlib.ExitStack() as stack:
        for name, way in ways.items():
            stack.enter_context(mock.patch.object(networks, name, way))
        return game_run(config, draw, batch, shared, (32, 32, 3))


def plane_run(config: Config) -> Run:
    """Return a run of steps of a game in the plane."""
    mixture = make_mixture(config.data)
    shared = {"key": jax.random.key(1)}
    return game_run(
        config, lambda key, *_: mixture.draw(key, config.batch), {}, shared, (2,)
    )


def game_run(
    config: Config, draw: Any, batch: Any, shared: Any, shape: tuple[int, ...]
) -> Run:
    """Return a run of single steps, compiled."""
    players = make_players(config)
    state = initial_state(config, players, jax.random.key(0), shape)
    step: Any = jax.jit(make_step(config, players, draw), donate_argnums=0)
    compiled = step.lower(state, batch, shared).compile()
    return repeat(lambda own: compiled(own[0], batch, shared), [state])


def main() -> None:
    """Measure all and write `records/mgan_step.json`."""
    ten, one = (get_preset(f"cifar10_small{end}").config for end in ("", "_gan"))
    full_ten, full_one = (get_preset(f"cifar10{end}").config for end in ("", "_gan"))
    eight = get_preset("ring").config
    # Made one pair at a time, so that no other has its memory.
    pairs: dict[str, Callable[[], tuple[Run, Run]]] = {
        "ten generators over one, CIFAR-10 at a quarter of the width": lambda: (
            image_run(ten),
            image_run(one),
        ),
        "ten generators over one, CIFAR-10 at the paper's width": lambda: (
            image_run(full_ten),
            image_run(full_one),
        ),
        "eight generators over one, the ring": lambda: (
            plane_run(eight),
            plane_run(replace_fields(eight, generators=1, fakes=1024)),
        ),
        "XLA's strided convolutions over ours, ten generators": lambda: (
            image_run(ten, plain=True),
            image_run(ten),
        ),
    }
    rows = []
    for name, make in pairs.items():
        over, under, ratio = compare(*make(), rounds=ROUNDS, target=ROUND_SECONDS)
        rows.append(
            {"what": name, "over_seconds": over, "under_seconds": under, "ratio": ratio}
        )
        print(name, ratio["median"], flush=True)
    print(write_record("mgan_step", COMMAND, rounds=ROUNDS, rows=rows))


if __name__ == "__main__":
    main()
