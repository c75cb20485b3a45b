"""What splitting the state over devices saves, moves and changes.

    python -m benchmarks.state_sharding

A training step of ResNet-50 with LARS is compiled, not run, for one to eight virtual
devices of eight images each, with the state whole (`none`), the optimizer's split
(`zero1`), and all of it split (`fsdp`). What a device is given and what it needs beside
that is the compiler's own account, for CPUs; so are the collectives, counted in the
compiled text with the branch for norms out of range, and their bytes are those of their
results on one device. This compiler forms no reduce-scatter: where one would do, it
sums whole and keeps a part.

How far the results are from those of one device is measured on the small network of
`benchmarks.mesh_errors`.
"""

import itertools
import re
import time
from dataclasses import asdict
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import mesh_errors
from benchmarks.network_shapes import IMAGE_SIZES
from benchmarks.records import write_record
from lars_jax import TrainState, lars
from lars_jax.models import build, merge_running
from lars_jax.train import (
    DataParallel,
    StateSharding,
    data_mesh,
    gathered,
    parameter_shardings,
    state_shardings,
    update,
)
from lars_jax.train.sharding import shard_shapes

NETWORK, IMAGES = "resnet50", 8
DEVICES, MICROBATCHES = (1, 2, 4, 8), (1, 4)
KINDS = get_args(StateSharding)
SPAN = 4

COLLECTIVE = re.compile(
    r" = (?P<type>\(.*?\)|\S+) (?P<kind>all-gather|all-reduce|reduce-scatter"
    r"|all-to-all|collective-permute)(?:-start)?\("
)
ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f64": 8, "s64": 8}


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Return how many collectives of each kind a program holds, and their bytes.

    >>> collectives('''
    ...   %a = f32[8,2]{1,0} all-gather(%x), dimensions={0}
    ...   %b = (f32[2]{0}, pred[]) all-reduce(%y, %z), to_apply=%sum
    ... ''')
    {'all-gather': {'count': 1, 'bytes': 64}, 'all-reduce': {'count': 1, 'bytes': 9}}
    """
    found: dict[str, dict[str, int]] = {}
    for match in COLLECTIVE.finditer(text):
        row = found.setdefault(match["kind"], {"count": 0, "bytes": 0})
        row["count"] += 1
        for dtype, sizes in ARRAY.findall(match["type"]):
            entries = int(np.prod([int(size) for size in sizes.split(",") if size]))
            row["bytes"] += entries * WIDTHS.get(dtype, 4)
    return found


def compiled(kind: StateSharding, devices: int) -> dict[str, Any]:
    """Return what the compiled step of ResNet-50 tells of memory and collectives."""
    parallel, side = DataParallel(data_mesh(devices)), IMAGE_SIZES[NETWORK]
    network, tx = build(NETWORK, 1000), lars(2.0, 1e-4)

    def initial() -> TrainState:
        images = jnp.zeros((1, side, side, 3))
        return TrainState.create(*network.init(jax.random.key(0), images), tx)

    state = jax.eval_shape(initial)
    shardings = state_shardings(state, parallel.mesh, kind)
    gradients = parameter_shardings(state.params, parallel.mesh)

    def loss_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        del key
        logits, model_state = network.apply(
            params, model_state, batch["image"], train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return jnp.mean(losses), (model_state, {})

    def step(state: TrainState, batch: Any, shared: Any) -> Any:
        loss = loss_fn if kind == "none" else gathered(loss_fn, gradients)
        return update(loss, tx, state, batch, shared["key"], merge=merge_running)

    batch = {
        "image": jax.ShapeDtypeStruct((devices * IMAGES, side, side, 3), jnp.float32),
        "label": jax.ShapeDtypeStruct((devices * IMAGES,), jnp.int32),
    }
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    started = time.perf_counter()
    program: Any = parallel.compile(step, shardings)
    program = program.lower(state, batch, shared).compile()
    memory = program.memory_analysis()
    fed = sum(leaf.size * leaf.dtype.itemsize for leaf in batch.values()) // devices
    return {
        "kind": kind,
        "devices": devices,
        "placed_bytes": _tree_bytes(shard_shapes(state, shardings)),
        "state_bytes": memory.argument_size_in_bytes - fed,
        "donated_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": collectives(program.as_text()),
        "compile_seconds": time.perf_counter() - started,
    }


def errors() -> list[dict[str, Any]]:
    """Return how far twenty steps are from those of whole batches on one device."""
    rows = []
    for optimizer in mesh_errors.OPTIMIZERS:
        start, expected = mesh_errors.trained(mesh_errors.Case(optimizer, SPAN))
        for place in itertools.product(DEVICES, MICROBATCHES, KINDS):
            case = mesh_errors.Case(optimizer, SPAN, "jit", *place)
            _, found = mesh_errors.trained(case)
            error = mesh_errors.largest_error(found, expected, start)
            rows.append(asdict(case) | {"error": error})
    return rows


def main() -> None:
    """Measure all and write `records/state_sharding.json`."""
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    found = errors()
    print(f"worst error {max(row['error'] for row in found):.1e}", flush=True)
    rows = []
    for devices, kind in itertools.product(DEVICES, KINDS):
        rows.append(compiled(kind, devices))
        megabytes = {k: rows[-1][k] / 1e6 for k in ("state_bytes", "temporary_bytes")}
        print(devices, kind, megabytes, rows[-1]["collectives"], flush=True)
    command = "python -m benchmarks.state_sharding"
    settings = {"network": NETWORK, "images_per_device": IMAGES}
    settings |= {"error_steps": mesh_errors.STEPS, "error_batch": mesh_errors.BATCH}
    path = write_record(
        "state_sharding", command, settings=settings, rows=rows, errors=found
    )
    print(path)


def _tree_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


if __name__ == "__main__":
    main()
