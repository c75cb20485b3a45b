"""Images per second of a ResNet-50 training step on noise, beside PyTorch's.

    python -m benchmarks.throughput.resnet50 --batches 256 512

A batch of bytes lies on the device, so that the input costs neither side anything: what
is timed is mirroring, normalisation, both passes, and the optimizer. PyTorch's side is
torchvision's network under fused SGD with momentum, in each of the ways of
`torch_resnet50.VARIANTS`. All take turns in this process; the number to read is the
ratio, ours over the fastest of theirs.
"""

import dataclasses
import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Literal

import jax
import tyro

from benchmarks.common.markdown import Cells
from benchmarks.common.records import device_name, write_record
from benchmarks.common.rounds import Run, alternate, ratios, repeat, summary
from benchmarks.common.steps import MeshStep
from experiments.lars.presets import get_preset
from experiments.lars.shapes import assumed_facts
from lars_jax.train.config import replace_fields

COMMAND = "python -m benchmarks.throughput.resnet50"
OURS = "lars_jax"

FLOPS = 24.6e9
"""Of an image of 224 pixels forward and backward: three times two a product, 4.1e9."""

PUBLISHED = 7006
"""Images/s of an H100 in MLPerf Training 3.0 (MXNet, batch 400), the best published."""

LINE = "{name}: {images_per_second:.0f all} images/s"


@dataclass(frozen=True)
class Settings:
    """Images per second of a ResNet-50 training step, ours and PyTorch's."""

    batches: tuple[int, ...] = (256, 512)
    """Examples per step, of one measurement each."""
    image_size: int = 224
    """Pixels of a side."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type of activations and products; parameters stay float32."""
    rounds: int = 5
    """Alternating rounds of each side."""
    round_seconds: float = 2.0
    """About how long one round of one side takes."""
    torch: bool = True
    """Time PyTorch as well, where it is installed."""
    record: bool = False
    """Write `records/resnet50_throughput_DEVICE.json` after each batch."""


def main() -> None:
    """Measure as the command line says, and write the record if asked."""
    # JAX would otherwise take most of a GPU's memory before torch gets any.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    settings = tyro.cli(Settings, description=__doc__)
    rows = []
    for batch in settings.batches:
        rows.append(measure(settings, batch))
        print(describe(rows[-1]), flush=True)
        if settings.record:
            path = write_record(
                f"resnet50_throughput_{device_name()}",
                COMMAND,
                device=jax.devices()[0].device_kind,
                settings=dataclasses.asdict(settings),
                runs=rows,
            )
            print(f"record: {path}", flush=True)


def measure(settings: Settings, batch: int) -> dict[str, Any]:
    """Return what a batch of one size reaches, as a row of the record."""
    facts, run = our_run(settings, batch)
    runs, torch = {OURS: run}, None
    if settings.torch:
        torch, theirs = torch_runs(settings, batch)
        runs |= theirs
    taken = alternate(runs, rounds=settings.rounds, target=settings.round_seconds)
    speed = {
        name: [batch / seconds for seconds in times.clock]
        for name, times in taken.items()
    }
    found = {name: summary(values) for name, values in speed.items()}
    row: dict[str, Any] = {
        "batch": batch,
        "image_size": settings.image_size,
        "images_per_second": found,
        "steps_per_round": {name: times.steps for name, times in taken.items()},
        OURS: facts,
        "torch": torch,
    }
    theirs = [name for name in speed if name != OURS]
    if theirs:
        best = max(theirs, key=lambda name: found[name]["median"])
        row |= {"fastest": best, "ratio": summary(ratios(speed[OURS], speed[best]))}
    return row


def our_run(settings: Settings, batch: int) -> tuple[dict[str, float], Run]:
    """Return what compiling our step took and its bytes, and a run on one device."""
    config = replace_fields(
        get_preset("mlperf_4096").config,
        global_batch=batch,
        microbatches=1,
        bn_span="global",
        image_size=settings.image_size,
        dtype=settings.dtype,
        devices=1,
    )
    made = MeshStep.create(config, assumed_facts(config))
    put = made.parallel
    # In one program, where every parameter would be one otherwise.
    state = put.replicate(jax.jit(made.initial_state)())
    batched = put.shard_batch(made.noise())
    shared = put.replicate({"key": jax.random.key(0)})
    started = time.perf_counter()
    compiled = made.step.lower(state, batched, shared).compile()
    seconds = time.perf_counter() - started
    print(f"{OURS} compiled in {seconds:.0f} s", file=sys.stderr, flush=True)
    memory = compiled.memory_analysis()
    facts = {
        "compile_seconds": seconds,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
    }
    return facts, repeat(lambda state: compiled(state, batched, shared)[0], state)


def torch_runs(settings: Settings, batch: int) -> tuple[dict[str, str], dict[str, Run]]:
    """Return torch's version, and a run of each of its variants that work."""
    try:
        from benchmarks.throughput import torch_resnet50 as networks
    except (ImportError, OSError) as error:
        print(f"torch cannot be imported ({error}): timing our side alone")
        return {"skipped": str(error)}, {}
    facts, runs = networks.versions(), {}
    for variant in networks.VARIANTS:
        try:
            training = networks.Training(
                batch, settings.image_size, settings.dtype, variant
            )
            started = time.perf_counter()
            training.run(3)
            seconds = time.perf_counter() - started
            print(f"{variant} began in {seconds:.0f} s", file=sys.stderr, flush=True)
        except Exception as error:  # Whatever compilers raise that fail here.
            facts[variant] = f"{type(error).__name__}: {error}"[:200]
            continue
        runs[variant] = training.run
    return facts, runs


def describe(row: dict[str, Any]) -> str:
    """Return a row as lines to read.

    >>> speed = {"median": 7006.0, "lowest": 7000.0, "highest": 7010.0, "n": 3}
    >>> row = {"batch": 256, "image_size": 224, "images_per_second": {OURS: speed}}
    >>> print(describe(row))
    batch 256
    lars_jax: 7006 (7000 to 7010) images/s
    172 TFLOP/s, 1.00 of the best published on an H100
    """
    lines = [f"batch {row['batch']}"]
    for name, speed in row["images_per_second"].items():
        lines.append(Cells().format(LINE, name=name, images_per_second=speed))
    ours = row["images_per_second"][OURS]["median"]
    if row["image_size"] == 224:
        lines.append(
            f"{ours * FLOPS / 1e12:.0f} TFLOP/s, {ours / PUBLISHED:.2f} of the best "
            "published on an H100"
        )
    if "ratio" in row:
        lines.append(
            Cells().format(
                "ratio, ours over {fastest}: {ratio:.2f all}",
                fastest=row["fastest"],
                ratio=row["ratio"],
            )
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
