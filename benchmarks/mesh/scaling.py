"""Weak scaling of a training step over virtual CPU devices, read for its shape only.

    python -m benchmarks.mesh.scaling

Each device has the same number of examples, so N devices take a batch N times as large.
Virtual devices share the cores of one processor, all of which a single device uses
already: the ideal is a time proportional to N, not a constant one. What a back-end
costs is therefore its overhead,

    overhead(N) = time of a step on N devices / time of one device on the same batch,

whose ideal is 1. Both sides normalise over spans of one device's examples, so that they
compute the same thing. They are timed in alternating rounds and compared round by
round, by the clock and by the time that the cores worked: where others use the cores
too, a program with more threads gets more of them, and only the second is to be
trusted. One device by `jit` is timed against itself to show what the machine adds.

Every step is waited for: virtual devices deadlock where steps are queued, and the wait
is part of both sides.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, get_args

import jax
import tyro

from benchmarks.common.records import write_record
from benchmarks.common.rounds import Run, ratios, steps_for, summary
from benchmarks.common.steps import MeshStep
from benchmarks.mesh.scaling_figure import save_figure
from experiments.lars.config import Config
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend

ONE_DEVICE = "one device"
"""The side that every overhead is relative to: `jit` on one device."""

BACKENDS: tuple[Backend, ...] = get_args(Backend)
FACTS = ImageFacts(num_classes=10, channels=3, mean=(128.0,) * 3, std=(64.0,) * 3)


@dataclass(frozen=True)
class Settings:
    """Step times of a small ResNet on 1 to N virtual devices, by every back-end."""

    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices."""
    examples: int = 32
    """Examples of each device."""
    rounds: int = 9
    """Alternating rounds of each program."""
    round_seconds: float = 1.0
    """About how long one round of one program takes."""
    network: str = "resnet8"
    """Network, on images of 32 x 32 pixels."""


def step_config(
    settings: Settings, backend: Backend, devices: int, batch: int
) -> Config:
    """Return the configuration of one program; only its step is used."""
    return replace_fields(
        get_preset("cifar10_resnet20_128").config,
        network=settings.network,
        bn_span=settings.examples,
        global_batch=batch,
        microbatches=1,
        backend=backend,
        devices=devices,
    )


def make_run(config: Config) -> Run:
    """Return what takes steps of a configuration, each waited for.

    The batch is on the devices beforehand; the state goes on from call to call.
    """
    made = MeshStep.create(config, FACTS)
    batch = made.parallel.shard_batch(made.noise())
    shared = made.parallel.replicate({"key": jax.random.key(1)})
    state: Any = made.parallel.replicate(jax.jit(made.initial_state)())

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = jax.block_until_ready(made.step(state, batch, shared))

    return run


def per_step(run: Run, steps: int) -> tuple[float, float]:
    """Return seconds of a step, by the clock and of all cores together."""
    clock, cores = time.perf_counter(), time.process_time()
    run(steps)
    clock, cores = time.perf_counter() - clock, time.process_time() - cores
    return clock / steps, cores / steps


def measure(
    settings: Settings, devices: int, make: Callable[[Config], Run] = make_run
) -> list[dict[str, Any]]:
    """Return a row for each program of one number of devices, one device first."""
    batch = devices * settings.examples
    configs = {ONE_DEVICE: step_config(settings, "jit", 1, batch)}
    configs |= {
        backend: step_config(settings, backend, devices, batch) for backend in BACKENDS
    }
    runs = {name: make(config) for name, config in configs.items()}
    steps = {name: steps_for(run, settings.round_seconds) for name, run in runs.items()}
    clock: dict[str, list[float]] = {name: [] for name in runs}
    cores: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(settings.rounds):
        for name, run in runs.items():
            by_clock, of_cores = per_step(run, steps[name])
            clock[name].append(by_clock)
            cores[name].append(of_cores)

    return [
        {
            "program": name,
            "devices": devices,
            "global_batch": batch,
            "steps_per_round": steps[name],
            "seconds": summary(clock[name]),
            "core_seconds": summary(cores[name]),
            "overhead": summary(ratios(clock[name], clock[ONE_DEVICE])),
            "core_overhead": summary(ratios(cores[name], cores[ONE_DEVICE])),
            "load": os.getloadavg()[0],
        }
        for name in runs
    ]


def main(settings: Settings) -> None:
    """Measure all, and write `records/scaling.json` and `records/scaling.svg`."""
    jax.config.update("jax_num_cpu_devices", max(settings.devices))
    rows = []
    for devices in settings.devices:
        rows += measure(settings, devices)
        for row in rows[-len(BACKENDS) - 1 :]:
            print(
                f"{row['program']:>10} on {devices}: {row['seconds']['median']:.4f} s, "
                f"overhead {row['overhead']['median']:.3f}, of cores "
                f"{row['core_overhead']['median']:.3f}, load {row['load']:.1f}",
                flush=True,
            )
    command = "python -m benchmarks.mesh.scaling"
    print(write_record("scaling", command, settings=asdict(settings), rows=rows))
    save_figure(rows)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
