"""What splitting the state over devices saves, moves and changes.

    python -m benchmarks.mesh.state_sharding

The step of ResNet-50 is compiled, not run, and read; docs/runs.md says what is counted.
How far results are from those of one device is measured on the small network of
`benchmarks.mesh.errors`.
"""

import itertools
import time
from collections.abc import Iterable
from typing import Any, get_args

import jax

from benchmarks.common.records import write_record
from benchmarks.mesh import errors as mesh_errors
from benchmarks.mesh.collectives import Collective, collectives
from experiments.lars.microbatches import compile_step
from experiments.lars.presets import get_preset
from experiments.lars.program import state_shapes
from experiments.lars.shapes import (
    Setting,
    assumed_facts,
    batch_shapes,
    fed_shape,
    tree_bytes,
)
from lars_jax.train import DataParallel, StateSharding, data_mesh, state_shardings
from lars_jax.train.config import replace_fields
from lars_jax.train.sharding import shard_shapes

NETWORK, IMAGES = "resnet50", 8
DEVICES, MICROBATCHES = (1, 2, 4, 8), (1, 4)
KINDS = get_args(StateSharding)
SPAN = 4


def compiled(kind: StateSharding, devices: int) -> dict[str, Any]:
    """Return what the compiled step of ResNet-50 tells of memory and collectives."""
    config = replace_fields(
        get_preset("mlperf_4096").config,
        global_batch=devices * IMAGES,
        microbatches=1,
        bn_span="global",
        stride_in="1x1",
        state_sharding=kind,
    )
    facts, parallel = assumed_facts(config), DataParallel(data_mesh(devices))
    setting = Setting(parallel, facts, fed_shape(config.data, facts))
    started = time.perf_counter()
    step, _ = compile_step(config, setting)
    seconds = time.perf_counter() - started
    program = step.compile()
    memory = program.memory_analysis()
    batch = tree_bytes(batch_shapes(config.global_batch, setting.image))
    state = state_shapes(config, facts)
    return {
        "kind": kind,
        "devices": devices,
        "placed_bytes": tree_bytes(
            shard_shapes(state, state_shardings(state, parallel.mesh, kind))
        ),
        "state_bytes": memory.argument_size_in_bytes - batch // devices,
        "donated_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": by_opcode(collectives(program.as_text())),
        "compile_seconds": seconds,
    }


def errors() -> list[dict[str, Any]]:
    """Return how far twenty steps are from those of whole batches on one device."""
    references: mesh_errors.References = {}
    cases = []
    for optimizer in mesh_errors.OPTIMIZERS:
        alone = mesh_errors.Case(optimizer, SPAN)
        references[optimizer, SPAN] = mesh_errors.trained(alone)
        places = itertools.product(DEVICES, MICROBATCHES, KINDS)
        cases += [mesh_errors.Case(optimizer, SPAN, "jit", *place) for place in places]
    return list(mesh_errors.measured(cases, references))


def by_opcode(found: Iterable[Collective]) -> dict[str, dict[str, int]]:
    """Return how many collectives of each kind a program holds, and their bytes.

    >>> by_opcode([Collective("all-reduce", 8, 1), Collective("all-reduce", 4, 2)])
    {'all-reduce': {'count': 2, 'bytes': 16}}
    """
    rows: dict[str, dict[str, int]] = {}
    for one in found:
        row = rows.setdefault(one.opcode, {"count": 0, "bytes": 0})
        row["count"] += 1
        row["bytes"] += one.bytes * one.times
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
    command = "python -m benchmarks.mesh.state_sharding"
    settings = {"network": NETWORK, "images_per_device": IMAGES}
    settings |= {"error_steps": mesh_errors.STEPS, "error_batch": mesh_errors.BATCH}
    path = write_record(
        "state_sharding", command, settings=settings, rows=rows, errors=found
    )
    print(path)


if __name__ == "__main__":
    main()
