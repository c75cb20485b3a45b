"""What a whole step of LARS costs beside SGD, optax.lars, LAMB and PyTorch.

    python -m benchmarks.optimizer.step --networks resnet50 alexnet vgg16 --record

A step is `tx.update` and `optax.apply_updates`, compiled together, with parameters and
state donated. All programs run in this process in alternating rounds, each on a fresh
copy of the parameters, and only one has its memory at a time. Floors are what reading
and writing N parameters so often would take, at bandwidths timed in the same rounds;
two cores may read more slowly than they copy, so 2N stand there only read, too.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks.common import networks
from benchmarks.common.markdown import Cells
from benchmarks.common.records import device_name, write_record
from benchmarks.common.rounds import Times, ratios, summary
from benchmarks.optimizer.programs import (
    OPTAX,
    OURS,
    SGD,
    WITHOUT_TELEMETRY,
    Program,
    compiled_step,
    drawn,
    optimizers,
    stream,
    torch_programs,
)
from lars_jax.errors import InputError

NetworkName = Literal["resnet50", "alexnet", "vgg16"]

STREAMS = {
    "copy": (2, lambda x: x * 2),
    "read": (1, lambda x: (x, jnp.sum(jnp.square(x)))),
}
"""How often each pass moves an array, and the pass; floors are reckoned from them."""

PROGRAM = (
    "{name}: {seconds:.2f ms} ms, {over_sgd:.2f} times SGD, {over_optax_lars:.2f} "
    "times optax.lars; compiled in {compile_seconds:.2f} s, {kernels} kernels"
)
FLOOR = "floor {name}: {seconds:.2f ms} ms"
"""What is printed of a program and of a floor."""

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
    inside: int = 1
    """Steps of one call of ours and Optax's, of which `steps` is a multiple; on a GPU
    one alone takes the host as long as the device."""
    compiles: int = 3
    """Times that each program is traced and compiled."""
    stream_megabytes: int = 256
    """Size of the array that gives the bandwidth."""
    torch: bool = True
    """Time PyTorch as well, where it is installed."""
    only: tuple[str, ...] = ()
    """Programs of ours and of Optax to time, by name; none named: all of them."""
    record: bool = False
    """Write the record from which the README's table is made."""


def measure(
    settings: Settings, shapes: Any, torch: Mapping[str, Program]
) -> dict[str, Any]:
    """Return what one network's parameters say, as an entry of the record.

    Raises:
        InputError: rounds that are no whole number of calls, or an unknown program.
    """
    if settings.steps % settings.inside:
        raise InputError(
            "a round is a whole number of calls; got "
            f"{settings.steps} steps of {settings.inside} a call: correct --steps"
        )
    known = optimizers()
    if unknown := set(settings.only) - set(known):
        raise InputError(
            f"no program is called {', '.join(sorted(unknown))}: choose among "
            f"{', '.join(known)} for --only"
        )
    programs, facts = dict(torch), {}
    for name, tx in known.items():
        # Ratios are to these.
        if not settings.only or name in (SGD, OPTAX, *settings.only):
            print(f"compiling {name}", file=sys.stderr, flush=True)
            programs[name], facts[name] = compiled_step(
                tx, shapes, settings.compiles, settings.inside
            )
    megabytes = settings.stream_megabytes
    programs |= {
        name: stream(megabytes, function) for name, (_, function) in STREAMS.items()
    }
    taken = timed(programs, drawn(shapes, 0.05), drawn(shapes, 0.01), settings)
    bandwidths = {
        name: summary([moves * megabytes * 2**20 / s for s in taken.pop(name)])
        for name, (moves, _) in STREAMS.items()
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
        "telemetry": summary(ratios(taken[OURS], taken[WITHOUT_TELEMETRY]))
        if OURS in taken and WITHOUT_TELEMETRY in taken
        else None,
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
    taken = {name: Times(settings.steps) for name in programs}
    for _ in range(settings.rounds):
        for name, start in programs.items():
            run = start(params, gradients)
            run(1)
            taken[name].measure(run)
            # Its memory, before the next program asks for as much.
            del run
    return {name: times.clock for name, times in taken.items()}


def describe(network: str, found: dict[str, Any]) -> str:
    """Return the times of a network's programs as lines to read."""
    lines = [f"{network}: {found['parameters']:,} parameters"]
    for form, rows in ((PROGRAM, found["programs"]), (FLOOR, found["floors"])):
        lines += [Cells().format(form, name=name, **row) for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure as the command line says, print times, and write the record if asked."""
    # JAX would otherwise take most of a GPU's memory before torch gets any.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # OpenMP's threads would otherwise spin after torch's turn, into JAX's.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = tyro.cli(Settings, description=__doc__)
    jax.config.update("jax_enable_compilation_cache", False)
    version, torch = torch_programs() if settings.torch else (None, {})
    measured, device = {}, device_name()
    for network in settings.networks:
        measured[network] = measure(settings, networks.shapes(network), torch)
        print(describe(network, measured[network]), flush=True)
        if settings.record:
            path = write_record(
                "optimizer_step" if device == "cpu" else f"optimizer_step_{device}",
                "python -m benchmarks.optimizer.step --record",
                device=jax.devices()[0].device_kind,
                settings=dataclasses.asdict(settings),
                torch=version,
                networks=measured,
            )
            print(f"record: {path}", flush=True)


if __name__ == "__main__":
    main()
