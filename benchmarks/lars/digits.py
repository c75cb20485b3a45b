"""Train the digits presets with several seeds, each as a user would, and record it.

    python -m benchmarks.lars.digits --seeds 3

Each run is a process of its own, timed from start to end: imports, compilation,
training, evaluation, checkpoints and report.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.records import mean_sd, write_record
from lars_jax.train.record import read_json, read_lines


@dataclass(frozen=True)
class Digits:
    """Presets of the digits, n seeds each."""

    presets: tuple[str, ...] = (
        *("digits", "digits_1024"),
        *("digits_sgd", "digits_nesterov", "digits_lamb"),
    )
    """Presets to run."""
    seeds: int = 3
    """Seeds 0 to n - 1."""


def run(preset: str, seed: int, directory: Path) -> dict[str, Any]:
    """Train once through the command line and return what came of it."""
    words = ["train", preset, "--seed", str(seed), "--run-dir", str(directory)]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "experiments.lars", *words],
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - started
    rows = list(read_lines(directory / "metrics.jsonl"))
    last = [row for row in rows if "eval/accuracy" in row][-1]
    return {
        "preset": preset,
        "seed": seed,
        "wall_seconds": round(seconds, 1),
        "steps": last["step"],
        "accuracy": last["eval/accuracy"],
        "loss": last["eval/loss"],
        "count": last["eval/count"],
        "config": read_json(directory / "config.json")["config"],
    }


def main(asked: Digits) -> None:
    """Run every preset with every seed and write `records/digits.json`."""
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        for preset in asked.presets:
            for seed in range(asked.seeds):
                found = run(preset, seed, Path(scratch) / f"{preset}-{seed}")
                runs.append(found)
                print(
                    f"{preset} seed {seed}: {100 * found['accuracy']:.2f} % of "
                    f"{found['count']:.0f} in {found['wall_seconds']} s",
                    flush=True,
                )
    command = f"python -m benchmarks.lars.digits --seeds {asked.seeds}"
    print(write_record("digits", command, runs=runs))
    for preset in asked.presets:
        own = [found["accuracy"] for found in runs if found["preset"] == preset]
        mean, sd = mean_sd(own)
        print(f"{preset}: {100 * mean:.2f} +- {100 * sd:.2f} % (n = {len(own)})")


if __name__ == "__main__":
    main(tyro.cli(Digits))
