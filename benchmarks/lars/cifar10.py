"""Everything that one machine can say about CIFAR-10, in one command, for a GPU.

    TFDS_DATA_DIR=... python -m benchmarks.lars.cifar10 --out runs/gpu

Trains each preset to its end in its own run directory, then times the training step of
both networks, and writes `records/cifar10_<device>.json` after each of these, so that
what was done is kept if the machine goes away. The same command goes on where it was:
runs resume from their last checkpoint.
"""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.throughput import cifar10 as throughput
from experiments.lars import run
from experiments.lars.config import Config, replace
from experiments.lars.presets import get_preset
from lars_jax.train.config import to_json
from lars_jax.train.record import environment, read_json, read_lines, write_json

PRESETS = (
    "cifar10_resnet20_512",
    "cifar10_resnet20_4096",
    "cifar10_alexnet_bn_512",
    "cifar10_alexnet_bn_4096",
)
NETWORKS: tuple[throughput.NetworkName, ...] = ("resnet20", "alexnet_bn")


@dataclass(frozen=True)
class Settings:
    """Train the CIFAR-10 presets, then time the training step."""

    out: Path = Path("runs/gpu_cifar10")
    """Where the run directories go, one for each preset."""
    presets: tuple[str, ...] = PRESETS
    """Presets to train, in this order."""
    steps: int | None = None
    """Updates of each run in place of its own length, for a trial."""
    networks: tuple[throughput.NetworkName, ...] = NETWORKS
    """Networks to time; none: `--networks` without a name after it."""
    batch: int = 512
    """Examples per step of the timing."""
    rounds: int = 7
    """Alternating rounds of the timing."""
    round_seconds: float = 3.0
    """About how long one round of one side takes."""
    records: Path = Path("records")
    """Directory of the JSON record."""


def main() -> int:
    """Do what the command line says and return the exit status of the last run."""
    # JAX would otherwise take most of a GPU's memory before torch gets any.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    settings = tyro.cli(Settings, description=__doc__)
    settings.records.mkdir(parents=True, exist_ok=True)
    path = settings.records / f"cifar10_{throughput.device_name()}.json"
    record = read_json(path) if path.exists() else {}
    record |= {"machine": throughput.machine(), "environment": environment()}
    record = {"runs": {}, "throughput": {}} | record
    for name in settings.presets:
        row, status = train(settings, name)
        if status:
            return status
        record["runs"][name] = row
        write_json(path, record)
    for network in settings.networks:
        row = measure(settings, network)
        record["throughput"][f"{network}_{settings.batch}"] = row
        write_json(path, record)
    print(table(record))
    print(f"record: {path}")
    return 0


def train(settings: Settings, name: str) -> tuple[dict[str, Any], int]:
    """Train one preset, or go on with it, and return its row and exit status."""
    config = shortened(get_preset(name).config, settings.steps)
    directory = settings.out / name
    resume = (directory / "config.json").exists()
    started = time.perf_counter()
    outcome = run.train(config, directory, name=name, resume="if_any")
    return {
        "accuracy": outcome.evaluation.get("eval/accuracy"),
        "loss": outcome.evaluation.get("eval/loss"),
        "count": outcome.evaluation.get("eval/count"),
        "steps": outcome.step,
        "images_per_second": training_speed(directory),
        "wall_seconds": time.perf_counter() - started,
        "resumed": resume,
        "config": to_json(config),
    }, outcome.status


def shortened(config: Config, steps: int | None) -> Config:
    """Return a configuration with that many updates, or as it is."""
    return config if steps is None else replace(config, steps=steps)


def training_speed(directory: Path) -> float | None:
    """Return the median images per second of a run's logged intervals.

    The first, which compiles the step, is left out.
    """
    rows = read_lines(directory / "metrics.jsonl")
    speeds = [row["images_per_second"] for row in rows if "images_per_second" in row]
    return statistics.median(speeds[1:]) if speeds[1:] else None


def measure(settings: Settings, network: throughput.NetworkName) -> dict[str, Any]:
    """Return the throughput of a network, printed as it comes."""
    row = throughput.measure(
        throughput.Settings(
            network=network,
            batch=settings.batch,
            rounds=settings.rounds,
            round_seconds=settings.round_seconds,
            breakdown=True,
        )
    )
    print(throughput.table(row))
    return row


def table(record: dict[str, Any]) -> str:
    """Return the runs of a record as lines to read."""
    lines = [f"{'preset':26}{'accuracy':>10}{'of':>8}{'steps':>8}{'wall s':>9}"]
    lines += [
        f"{name:26}{100 * row['accuracy']:>9.2f}%{row['count']:>8.0f}"
        f"{row['steps']:>8}{row['wall_seconds']:>9.0f}"
        for name, row in record["runs"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
