"""Weak scaling of a training step over virtual CPU devices, read for its shape only.

    python -m benchmarks.mesh.scaling

Each device has the same number of examples, and virtual devices share cores that one
device keeps busy already. What a back-end costs is therefore its overhead,

    overhead(N) = time of a step on N devices / time of one device on the same batch,

whose ideal is 1. Both sides normalise over spans of one device's examples, and so
compute the same.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import jax
import tyro

from benchmarks.common.figures import save_svg
from benchmarks.common.records import read_record, write_record
from benchmarks.common.rounds import Run, alternate, ratios, repeat, summary
from benchmarks.common.steps import MeshStep
from experiments.lars.config import Config
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts
from lars_jax.report.figures import draw_error_bars
from lars_jax.report.style import legend_above, light, new_axes
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    return repeat(lambda own: made.step(own[0], batch, shared), [state], each=True)


def measure(settings: Settings, devices: int) -> list[dict[str, Any]]:
    """Return a row for each program of one number of devices, one device first."""
    batch = devices * settings.examples
    configs = {ONE_DEVICE: step_config(settings, "jit", 1, batch)}
    configs |= {
        backend: step_config(settings, backend, devices, batch) for backend in BACKENDS
    }
    runs = {name: make_run(config) for name, config in configs.items()}
    taken = alternate(runs, rounds=settings.rounds, target=settings.round_seconds)
    alone = taken[ONE_DEVICE]
    return [
        {
            "program": name,
            "devices": devices,
            "global_batch": batch,
            "steps_per_round": times.steps,
            "seconds": summary(times.clock),
            "core_seconds": summary(times.cores),
            "overhead": summary(ratios(times.clock, alone.clock)),
            "core_overhead": summary(ratios(times.cores, alone.cores)),
            "load": os.getloadavg()[0],
        }
        for name, times in taken.items()
    ]


def scaling_figure(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Draw what a step on N devices costs over N times one device's share.

    The cost is the time that all cores together worked, a point the median of the
    rounds inside a bar from the least to the most. At one, N devices cost N times as
    much as one does for its share.

    >>> cost = {"median": 2.0, "lowest": 1.0, "highest": 3.0}
    >>> rows = [{"program": "jit", "devices": 1, "core_seconds": cost}]
    >>> scaling_figure(rows).axes[0].get_xticks().tolist()
    [1]
    """
    figure, axes = new_axes(6.4, 3.8, "Weak scaling")
    share = next(row for row in rows if row["devices"] == 1)["core_seconds"]["median"]
    bars: dict[str, list[tuple[int, float, float, float]]] = {}
    for row in rows:
        # Over N times the share: what is left if time is proportional to devices.
        low, middle, high = (
            row["core_seconds"][name] / (row["devices"] * share)
            for name in ("lowest", "median", "highest")
        )
        point = row["devices"], middle, middle - low, high - middle
        bars.setdefault(row["program"], []).append(point)
    draw_error_bars(axes, bars)
    axes.axhline(1.0, color=light("muted"), linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("virtual devices on the same cores")
    axes.set_ylabel("core time of a step / (N x one share)")
    legend_above(axes)
    return figure


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
    draw()


def draw() -> Path:
    """Draw the figure anew from its record."""
    text = "Core time of a step on N devices over N times that of one device's share"
    return save_svg(scaling_figure(read_record("scaling")["rows"]), "scaling", text)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
