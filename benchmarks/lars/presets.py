"""Train presets with several seeds, each as a user would, and record how they ended.

    python -m benchmarks.lars.presets digits --seeds 3
    TFDS_DATA_DIR=... python -m benchmarks.lars.presets cifar10

Each run is a process of its own, timed from start to end. A run that is in the
directory already is gone on with, or not trained again if it has ended; times are then
those of the last attempt, and the record says so. One of another configuration or of
other data is refused.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from benchmarks.common.commands import command
from benchmarks.common.records import device_name, mean_sd, write_record
from experiments.lars.experiment import LARS
from experiments.lars.presets import get_preset
from lars_jax.runs import can_resume
from lars_jax.runs.data import open_data
from lars_jax.runs.paths import absolute_paths
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json, read_lines, write_json

GROUPS = {
    "digits": (
        "digits",
        "digits_1024",
        "digits_sgd",
        "digits_nesterov",
        "digits_lamb",
    ),
    "cifar10": (
        "cifar10_resnet20_512",
        "cifar10_resnet20_4096",
        "cifar10_alexnet_bn_512",
        "cifar10_alexnet_bn_4096",
    ),
}


def run(
    preset: str,
    seed: int,
    directory: Path,
    steps: int | None,
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Train once through the command line and return what came of it.

    Args:
        preset: what to train.
        seed: of the run.
        directory: of the run.
        steps: updates in place of the preset's own; None: those.
        data_dir: where its data lie prepared; None: where the preset says.

    Raises:
        InputError: the directory has another run, or one of other data.
    """
    done = directory / "result.json"
    changes = {"steps": steps, "data_dir": data_dir and str(data_dir)}
    changes = {name: value for name, value in changes.items() if value is not None}
    config = replace_fields(get_preset(preset).config, seed=seed, **changes)
    config = absolute_paths(config)
    resumed = can_resume(config, directory, "if_any", placement=LARS.placement)
    if resumed and done.exists():
        open_data(LARS, config, directory, accept=False)
        return read_json(done)
    words = ["train", preset, "--seed", str(seed), "--run-dir", str(directory)]
    for name, value in changes.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    started = time.perf_counter()
    words = [sys.executable, "-m", "experiments.lars", *words, "--resume-if-any"]
    status = subprocess.run(words, stdout=subprocess.DEVNULL).returncode
    if status:
        raise SystemExit(status)
    seconds = time.perf_counter() - started
    rows = list(read_lines(directory / "metrics.jsonl"))
    last = [row for row in rows if "eval/accuracy" in row][-1]
    found = {
        "preset": preset,
        "seed": seed,
        "wall_seconds": round(seconds, 1),
        "resumed": resumed,
        "images_per_second": training_speed(rows),
        "steps": last["step"],
        "accuracy": last["eval/accuracy"],
        "loss": last["eval/loss"],
        "count": last["eval/count"],
        "config": read_json(directory / "config.json")["config"],
    }
    write_json(done, found)
    return found


def training_speed(rows: list[dict[str, Any]]) -> float | None:
    """Return the median images per second of a run's logged intervals.

    The first, which compiles the step, is left out.
    """
    speeds = [row["images_per_second"] for row in rows if "images_per_second" in row]
    return statistics.median(speeds[1:]) if speeds[1:] else None


def main(
    group: tyro.conf.Positional[Literal["digits", "cifar10"]],
    run_dir: Path | None = None,
    seeds: int = 1,
    steps: int | None = None,
) -> None:
    """Run every preset of a group and write its record after each run.

    Args:
        group: presets to train.
        run_dir: where the runs are, or will be; by default `runs/GROUP`.
        seeds: 0 to n - 1 of each preset.
        steps: updates of each run in place of its own length, for a trial, which is
            not recorded.
    """
    # This process asks only for the device's name; its memory belongs to the runs.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    place = run_dir or Path("runs") / group
    name = group if jax.default_backend() == "cpu" else f"{group}_{device_name()}"
    again = f"python -m benchmarks.lars.presets {group} --seeds {seeds}"
    runs: list[dict[str, Any]] = []
    for preset in GROUPS[group]:
        for seed in range(seeds):
            runs.append(run(preset, seed, place / f"{preset}-{seed}", steps))
            found = runs[-1]
            print(
                f"{preset} seed {seed}: {100 * found['accuracy']:.2f} % of "
                f"{found['count']:.0f} in {found['wall_seconds']} s",
                flush=True,
            )
            if steps is None:
                write_record(name, again, runs=runs)
        mean, sd = mean_sd([found["accuracy"] for found in runs[-seeds:]])
        print(f"{preset}: {100 * mean:.2f} +- {100 * sd:.2f} % (n = {seeds})")


if __name__ == "__main__":
    command(main)
