"""Photographs that a core reads a second, beside tf.data's and torchvision's.

    python -m benchmarks.throughput.loader --photographs imagenet1k_s256.npz

They are enlarged to the size that most of ImageNet's have, 500 x 375, and encoded
again, so they have less detail than those. Every loader is a process of its own that
keeps to one core, warps each image to a square and stacks 32 at a time; they take
turns. What all cores read together is measured of ours alone.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro
from PIL import Image

from benchmarks.common.photographs import read_photographs
from benchmarks.common.processes import ROOT
from benchmarks.common.records import write_record
from benchmarks.common.rounds import ratios, summary
from benchmarks.throughput.loaders import LOADERS, OURS
from lars_jax.data import folder_source
from lars_jax.data.arrays import to_arrays, usable_cores

COMMAND = "python -m benchmarks.throughput.loader --photographs NPZ"
WIDTH, HEIGHT, QUALITY = 500, 375, 90


def write_folder(photographs: Path, root: Path, count: int) -> None:
    """Write photographs as JPEG files of 500 x 375, one class for each.

    Args:
        photographs: as `read_photographs` takes them.
        root: of the folder data set.
        count: of photographs.
    """
    for k, file in enumerate(read_photographs(photographs)[0][:count]):
        with Image.open(io.BytesIO(file)) as image:
            large = image.convert("RGB").resize(
                (WIDTH, HEIGHT), Image.Resampling.BICUBIC
            )
        place = root / "train" / f"{k:04}"
        place.mkdir(parents=True)
        large.save(place / "photograph.jpg", quality=QUALITY)


def measure(name: str, root: Path, side: int, python: str) -> tuple[float, str]:
    """Return a loader's images a second on one core, and what versions it has."""
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [python, "-m", "benchmarks.throughput.loaders", name, str(root), str(side)],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    count, seconds, versions = done.stdout.split(maxsplit=2)
    return int(count) / float(seconds), versions.strip()


def main(
    photographs: Path,
    count: int = 1000,
    side: int = 256,
    rounds: int = 5,
    tensorflow: str | None = None,
    torchvision: str | None = None,
) -> None:
    """Write `records/loader.json`.

    Args:
        photographs: npz file of photographs.
        count: of them.
        side: pixels of a side of the squares.
        rounds: alternating rounds.
        tensorflow: the Python of an environment with TensorFlow; None: without it.
        torchvision: the Python of an environment with torchvision; None: without it.
    """
    of = {OURS: sys.executable, "torchvision": torchvision}
    known = {name: of.get(name, tensorflow) for name in LOADERS}
    pythons = {name: python for name, python in known.items() if python}
    found: dict[str, list[float]] = {name: [] for name in pythons}
    together, versions = [], {}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_folder(photographs, root, count)
        for _ in range(rounds):
            for name, python in pythons.items():
                speed, versions[name] = measure(name, root, side, python)
                found[name].append(speed)
                print(f"{name}: {speed:.0f} images/s", flush=True)
            started = time.perf_counter()
            to_arrays(folder_source(root, "train"), resize=side)
            together.append(count / (time.perf_counter() - started))
    content: dict[str, Any] = {
        "photographs": count,
        "size": [HEIGHT, WIDTH],
        "side": side,
        "versions": versions,
        "images_per_second": {name: summary(own) for name, own in found.items()},
        "ratios": {
            name: summary(ratios(found[OURS], own))
            for name, own in found.items()
            if name != OURS
        },
        "cores": usable_cores(),
        "together": summary(together),
    }
    again = f"{COMMAND} --count {count} --side {side} --rounds {rounds}"
    others = {"tensorflow": tensorflow, "torchvision": torchvision}
    again += "".join(f" --{name} PYTHON" for name, given in others.items() if given)
    print(write_record("loader", again, **content))


if __name__ == "__main__":
    tyro.cli(main)
