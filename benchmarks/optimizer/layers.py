"""How far sharded and stacked leaves are from whole and separate ones.

    python -m benchmarks.optimizer.layers

Three steps of every variant on leaves whose rows differ ten-thousandfold in size, so
that no shard and no layer has the norm of another: on one device with separate leaves,
and in the ways below on eight virtual devices. An error is the largest difference of a
parameter, relative to the largest distance that a parameter of its leaf has moved.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import P
from jax.sharding import AxisType, NamedSharding

from benchmarks.common.errors import largest_error
from benchmarks.common.records import write_record
from lars_jax.optim import VARIANTS, lars

LAYERS, STEPS = 4, 3
SCALES = np.logspace(-2, 2, 8)
SHAPES = {"rows": (8, 6), "tiles": (8, 4), "whole": (5,), "stack": (LAYERS, 8, 4)}
SPECS = {
    "rows": P("x"),
    "tiles": P("x", "y"),
    "whole": P(),
    "stack": P(None, "x", "y"),
}
STACKED = {"rows": None, "tiles": None, "whole": None, "stack": 0}

Tree = dict[str, jax.Array]
Way = Callable[[str], Tree]


def tree(seed: int) -> Tree:
    """Return the leaves of a seed: the parameters of 0, or a step's gradients."""
    random, leaves = np.random.default_rng(seed), {}
    for name, shape in SHAPES.items():
        values = random.normal(size=shape)
        if 8 in shape:
            others = [i for i, size in enumerate(shape) if size != 8]
            values *= np.expand_dims(SCALES, others)
        leaves[name] = jnp.asarray(values, jnp.float32)
    return leaves


def separate(leaves: Tree) -> Tree:
    """Return the same numbers with a leaf for each of the stacked layers."""
    rest = {name: leaf for name, leaf in leaves.items() if name != "stack"}
    return rest | {f"stack{i}": layer for i, layer in enumerate(leaves["stack"])}


def on_one_device(variant: str) -> Tree:
    """Return the parameters that one device reaches on separate leaves."""
    tx = _optimizer(variant)
    params = separate(tree(0))
    found = _run(jax.jit(tx.update), params, tx.init(params), separate)
    layers = [found.pop(f"stack{i}") for i in range(LAYERS)]
    return found | {"stack": jnp.stack(layers)}


def stacked(variant: str) -> Tree:
    """Return those of stacked leaves on one device."""
    tx = _optimizer(variant, stacked_axes=STACKED)
    return _run(jax.jit(tx.update), tree(0), tx.init(tree(0)))


def by_shardings(variant: str) -> Tree:
    """Return those of leaves that `jit` knows to be split over a 4 x 2 mesh."""
    tx = _optimizer(variant, stacked_axes=STACKED)
    shardings = {name: NamedSharding(_mesh(), spec) for name, spec in SPECS.items()}
    params = jax.device_put(tree(0), shardings)
    return _run(jax.jit(tx.update), params, tx.init(params))


def by_shard_map(variant: str, *, check_vma: bool) -> Tree:
    """Return those of shards inside `shard_map` over a 4 x 2 mesh."""
    tx = _optimizer(variant, stacked_axes=STACKED, axis_names=SPECS)
    state = tx.init(tree(0))
    specs = optax.tree.map_params(
        tx, lambda _, spec: spec, state, SPECS, transform_non_params=lambda _: P()
    )
    update = jax.shard_map(
        tx.update,
        mesh=_mesh(),
        in_specs=(SPECS, specs, SPECS),
        out_specs=(SPECS, specs),
        check_vma=check_vma,
    )
    return _run(jax.jit(update), tree(0), state)


def by_pmap(variant: str) -> Tree:
    """Return those of rows spread over eight devices by `pmap`."""
    axes = {"rows": "x", "tiles": "x", "whole": None, "stack": "x"}
    tx = _optimizer(variant, stacked_axes=STACKED, axis_names=axes)
    update = jax.pmap(tx.update, axis_name="x")
    params = _dealt(tree(0))
    found = _run(update, params, jax.pmap(tx.init)(params), _dealt)
    return {
        "rows": found["rows"][:, 0],
        "tiles": found["tiles"][:, 0],
        "whole": found["whole"][0],
        "stack": jnp.moveaxis(found["stack"][:, :, 0], 0, 1),
    }


WAYS: dict[str, Way] = {
    "layers stacked in a leaf": stacked,
    "jit, NamedSharding": by_shardings,
    "shard_map, checks on": lambda variant: by_shard_map(variant, check_vma=True),
    "shard_map, checks off": lambda variant: by_shard_map(variant, check_vma=False),
    "pmap": by_pmap,
}
"""Ways to take the steps of one device, by name."""


def main() -> None:
    """Measure all and write `records/layer_errors.json`."""
    jax.config.update("jax_num_cpu_devices", 8)
    errors: dict[str, dict[str, float]] = {}
    for variant in VARIANTS:
        expected = on_one_device(variant)
        errors[variant] = {
            way: largest_error(take(variant), expected, tree(0))
            for way, take in WAYS.items()
        }
        numbers = "  ".join(f"{name} {e:.1e}" for name, e in errors[variant].items())
        print(f"{variant:<16} {numbers}", flush=True)
    command = "python -m benchmarks.optimizer.layers"
    print(write_record("layer_errors", command, steps=STEPS, errors=errors))


def _mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)


def _optimizer(variant: str, **arguments: Any) -> optax.GradientTransformation:
    # Large enough steps that an error in one is seen in the next.
    return lars(0.5, 0.1, variant=variant, trust_coefficient=0.1, **arguments)


def _dealt(leaves: Tree) -> Tree:
    """Return leaves with the devices of `pmap` on axis 0."""
    return {
        "rows": leaves["rows"][:, None],
        "tiles": leaves["tiles"][:, None],
        "whole": jnp.broadcast_to(leaves["whole"], (8, *leaves["whole"].shape)),
        "stack": jnp.moveaxis(leaves["stack"], 1, 0)[:, :, None],
    }


def _run(
    update: Any, params: Any, state: Any, form: Callable[[Tree], Any] = lambda t: t
) -> Any:
    """Return the parameters after all steps; each is waited for."""
    for seed in range(1, STEPS + 1):
        updates, state = update(form(tree(seed)), state, params)
        params = jax.block_until_ready(optax.apply_updates(params, updates))
    return params


if __name__ == "__main__":
    main()
