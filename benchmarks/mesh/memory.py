"""The micro-batch that fits a device, by the compiler's account, for batches to 32,768.

    python -m benchmarks.mesh.memory [--seconds 900]

Nothing runs: a row is what `choose_microbatches` picks, the bytes that it found and the
seconds that it took. What the time does not suffice for is listed as left out.
"""

import itertools
import time
from typing import Any

import jax
import tyro

from benchmarks.common.records import write_record
from experiments.lars.microbatches import GIB, SHARE, choose_microbatches
from experiments.lars.presets import get_preset
from experiments.lars.shapes import Setting, assumed_facts, fed_shape
from lars_jax.errors import InputError
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields

SPAN = 64
NETWORKS = {"resnet50": "mlperf_4096", "alexnet_bn": "alexnet_bn_4k_lars"}
"""Presets that the networks are taken from."""

DEVICES, MEMORIES = (1, 8), (16, 80)
BATCHES = {
    "resnet50": (512, 32768, 4096, 1024, 16384, 2048, 8192),
    "alexnet_bn": (512, 32768, 4096),
}
"""Global batches, what matters most first."""


def row(network: str, batch: int, devices: int, memory: int) -> dict[str, Any]:
    """Return what is picked for one batch on devices with so many GiB."""
    config = replace_fields(
        get_preset(NETWORKS[network]).config, global_batch=batch, bn_span=SPAN
    )
    case = {"network": network, "batch": batch, "devices": devices, "memory": memory}
    facts = assumed_facts(config)
    parallel = DataParallel(data_mesh(devices), config.backend)
    setting = Setting(parallel, facts, fed_shape(config.data, facts))
    started = time.perf_counter()
    try:
        found = choose_microbatches(config, setting, memory * GIB)
    except InputError as error:
        return case | {"refused": str(error)}
    parts = found.config.parts
    return case | {
        "microbatches": parts,
        "microbatch": batch // parts,
        "estimate": found.estimate,
        "compiled": found.compiled,
        "seconds": time.perf_counter() - started,
        "reason": found.reason,
    }


def main(seconds: float = 900.0) -> None:
    """Compile what time allows and write `records/step_memory.json`.

    Args:
        seconds: after which no other program is compiled.
    """
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    started, rows, left_out = time.perf_counter(), [], []
    for network, batches in BATCHES.items():
        for batch, *case in itertools.product(batches, DEVICES, MEMORIES):
            if time.perf_counter() - started > seconds:
                left_out.append([network, batch, *case])
                continue
            rows.append(row(network, batch, *case))
            print(rows[-1], flush=True)
    order = [*NETWORKS]
    rows.sort(key=lambda r: (order.index(r["network"]), r["devices"], r["batch"]))
    content = {"share": SHARE, "span": SPAN, "rows": rows, "left_out": left_out}
    print(write_record("step_memory", "python -m benchmarks.mesh.memory", **content))


if __name__ == "__main__":
    tyro.cli(main)
