"""What a whole step of LARS costs beside SGD, optax.lars, LAMB and PyTorch.

    python -m benchmarks.optimizer.step --networks resnet50 alexnet vgg16 --record

A step is `tx.update` and `optax.apply_updates`, compiled together, with parameters and
state donated, on the float32 parameters of a network; the gradients are the same in
every step. All programs run in this process in alternating rounds, each on a fresh copy
of the parameters, and only one has its memory at a time. The numbers to read are the
ratios within a round: on a shared machine they vary much less than the times.

The floors are what a step would need that reads weights, gradients and momentum once
and writes weights and momentum (5N), or reads weights and gradients once more for their
norms (7N), at the bandwidth of a copy that is timed in the same rounds. Two cores may
read more slowly than they copy, so the 2N for the norms stand there at the bandwidth of
a sum of squares, too. Compilation is timed with every cache off; its processor seconds
count all threads.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from benchmarks.common import networks
from benchmarks.common.records import device_name, write_record
from benchmarks.common.rounds import ratios, seconds, summary
from benchmarks.optimizer.programs import (
    OPTAX,
    OURS,
    SGD,
    WITHOUT_TELEMETRY,
    Program,
    Stream,
    compiled_step,
    drawn,
    optimizers,
    torch_programs,
    torch_version,
)

NetworkName = Literal["resnet50", "alexnet", "vgg16"]

STREAMS = {"copy": Stream.copy, "read": Stream.read}
"""Passes over memory that the floors are reckoned from."""

FLOORS = {
    "5N": {"copy": 5},
    "7N": {"copy": 7},
    "7N, 2N of them only read": {"copy": 5, "read": 2},
}
"""Passes over the parameters of a step without and with a pass for the norms."""


@dataclass(frozen=True)
class Settings:
    """Time whole optimizer steps of several optimizers in turn."""

    networks: tuple[NetworkName, ...] = ("resnet50", "alexnet", "vgg16")
    """Networks whose parameters are stepped."""
    rounds: int = 15
    """Alternating rounds of each program."""
    steps: int = 5
    """Steps of one round of one program, after one that is not counted."""
    compiles: int = 3
    """Times that each program is traced and compiled."""
    stream_megabytes: int = 256
    """Size of the array that gives the bandwidth."""
    torch: bool = True
    """Time PyTorch as well, where it is installed."""
    record: bool = False
    """Write the record from which the README's table is made."""


def measure(settings: Settings, shapes: Any) -> dict[str, Any]:
    """Return what one network's parameters say, as an entry of the record.

    Args:
        settings: what to measure.
        shapes: tree of `jax.ShapeDtypeStruct`.
    """
    programs: dict[str, Program] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, tx in optimizers().items():
        programs[name], facts[name] = compiled_step(tx, shapes, settings.compiles)
    programs |= torch_programs() if settings.torch else {}
    streams = {
        name: stream(settings.stream_megabytes) for name, stream in STREAMS.items()
    }
    taken = timed(
        programs | streams, drawn(shapes, 0.05), drawn(shapes, 0.01), settings
    )
    bandwidths = {
        name: summary([stream.moved_bytes / s for s in taken.pop(name)])
        for name, stream in streams.items()
    }
    size = 4 * networks.count(shapes)
    return {
        "parameters": networks.count(shapes),
        "leaves": len(jax.tree.leaves(shapes)),
        "programs": {
            name: facts.get(name, {})
            | {
                "seconds": summary(times),
                "over_sgd": summary(ratios(times, taken[SGD])),
                "over_optax_lars": summary(ratios(times, taken[OPTAX])),
            }
            for name, times in taken.items()
        },
        "telemetry": summary(ratios(taken[OURS], taken[WITHOUT_TELEMETRY])),
        "bytes_per_second": bandwidths,
        "floors": {
            name: {
                "bytes": sum(passes.values()) * size,
                "seconds": sum(
                    count * size / bandwidths[stream]["median"]
                    for stream, count in passes.items()
                ),
            }
            for name, passes in FLOORS.items()
        },
    }


def timed(
    programs: Mapping[str, Program], params: Any, gradients: Any, settings: Settings
) -> dict[str, list[float]]:
    """Return the seconds per step of each program, in rounds that take turns."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(settings.rounds):
        for name, program in programs.items():
            run = program.start(params, gradients)
            run(1)
            taken[name].append(seconds(run, settings.steps) / settings.steps)
            # Its memory, before the next program asks for as much.
            del run
    return taken


def table(network: str, found: dict[str, Any]) -> str:
    """Return the times of a network's programs as lines to read."""
    counts = f"{found['parameters']:,} parameters in {found['leaves']} leaves"
    lines = [f"{network}: {counts}"]
    lines += [f"{'':30}{'ms':>9}{'/ sgd':>7}{'/ optax':>9}{'compile':>9}{'kernels':>9}"]
    for name, row in found["programs"].items():
        times = row["seconds"]["median"], row["over_sgd"]["median"]
        text = f"{name:30}{1000 * times[0]:>9.2f}{times[1]:>7.2f}"
        text += f"{row['over_optax_lars']['median']:>9.2f}"
        if "kernels" in row:
            text += f"{row['compile_seconds']['median']:>9.2f}{row['kernels']:>9}"
        lines.append(text)
    lines += [
        f"{'floor ' + name:30}{1000 * floor['seconds']:>9.2f}"
        for name, floor in found["floors"].items()
    ]
    return "\n".join(lines)


def save(settings: Settings, measured: dict[str, Any]) -> Path:
    """Write the record of this kind of device and return its path."""
    device = device_name()
    return write_record(
        "optimizer_step" if device == "cpu" else f"optimizer_step_{device}",
        "python -m benchmarks.optimizer.step --record",
        device=jax.devices()[0].device_kind,
        settings=dataclasses.asdict(settings),
        torch=torch_version() if settings.torch else None,
        networks=measured,
    )


def main() -> None:
    """Measure as the command line says, print tables, and write the record if asked."""
    # JAX would otherwise take most of a GPU's memory before torch gets any.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # OpenMP's threads would otherwise spin after torch's turn, into JAX's.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = tyro.cli(Settings, description=__doc__)
    jax.config.update("jax_enable_compilation_cache", False)
    measured = {}
    for network in settings.networks:
        measured[network] = measure(settings, networks.shapes(network))
        print(table(network, measured[network]), flush=True)
        if settings.record:
            print(f"record: {save(settings, measured)}", flush=True)


if __name__ == "__main__":
    main()
