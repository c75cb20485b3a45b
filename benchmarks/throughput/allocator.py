"""What it gains on a CPU that the memory of one step is kept for the next.

    python -m benchmarks.throughput.allocator --record

XLA allocates what a step holds when it begins and frees it when it ends. The GNU C
library gives large blocks back to the system, whose fresh pages must first be filled
with zeros, unless `keep_memory` tells it to keep them. Each run is a process of its
own, with and without by turns.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import jax
import tyro

from benchmarks.common.records import write_record
from benchmarks.common.rounds import summary
from benchmarks.common.steps import MeshStep
from experiments.lars.presets import get_preset
from experiments.lars.shapes import assumed_facts
from lars_jax.cpu import keep_memory
from lars_jax.train.config import replace_fields

COMMAND = "python -m benchmarks.throughput.allocator --record"

CASES = {
    "ResNet-8 on digits": ("digits", 256),
    "ResNet-8 on digits, large": ("digits", 1024),
    "ResNet-20": ("cifar10_resnet20_128", 128),
    "ResNet-20, large": ("cifar10_resnet20_128", 512),
}
"""Preset and batch of each step."""

SECONDS = 6.0
"""That a run takes steps for."""


def main(
    rounds: int = 5, only: str | None = None, keep: bool = False, record: bool = False
) -> None:
    """Time steps with and without, by turns, and write the record if asked.

    Args:
        rounds: pairs of runs of each case.
        only: run one case in this process and print the seconds of its step.
        keep: with `only`: keep the memory.
        record: write `records/allocator.json`.
    """
    if only is not None:
        if keep:
            keep_memory()
        print(json.dumps(step_facts(*CASES[only])))
        return
    rows = []
    for case, (preset, batch) in CASES.items():
        pairs = [(run(case), run(case, "--keep")) for _ in range(rounds)]
        row = {
            "case": case,
            "preset": preset,
            "batch": batch,
            "temporary_bytes": pairs[0][0]["temporary_bytes"],
            "seconds": summary([plain["seconds"] for plain, _ in pairs]),
            "seconds_kept": summary([kept["seconds"] for _, kept in pairs]),
            "ratio": summary([p["seconds"] / k["seconds"] for p, k in pairs]),
        }
        print(row, flush=True)
        rows.append(row)
    if record:
        write_record("allocator", COMMAND, runs=rows)


def run(case: str, *words: str) -> dict[str, float]:
    """Return what a process of its own says of a case."""
    command = [sys.executable, "-m", "benchmarks.throughput.allocator", *words]
    found = subprocess.run(
        [*command, "--only", case],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout.splitlines()[-1])


def step_facts(preset: str, batch: int) -> dict[str, float]:
    """Return the median seconds of a step, and the bytes of its temporaries."""
    config = replace_fields(
        get_preset(preset).config, global_batch=batch, microbatches=1, devices=1
    )
    made = MeshStep.create(config, assumed_facts(config))
    arguments = jax.device_put(made.noise()), {"key": jax.random.key(1)}
    state = made.parallel.replicate(made.initial_state())
    compiled = made.step.lower(state, *arguments).compile()
    taken: list[float] = []
    while len(taken) < 4 or sum(taken) < SECONDS:
        began = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, *arguments))
        taken.append(time.perf_counter() - began)
    return {
        "seconds": statistics.median(taken[1:]),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }


if __name__ == "__main__":
    tyro.cli(main)
