"""How alike squares of JPEG files are that are decoded smaller and whole.

    python -m benchmarks.throughput.likeness --photographs imagenet1k_s256.npz

The photographs are those of `benchmarks.throughput.loader`, at 500 x 375. The peak
signal-to-noise ratio of each is 10 log10(255^2 / mean squared difference). Files that
are decoded whole either way are left out.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import tyro

from benchmarks.common.records import write_record
from benchmarks.common.rounds import summary
from benchmarks.throughput.loader import write_folder
from lars_jax.data.decode import Fit, decode_image, resize_image

COMMAND = "python -m benchmarks.throughput.likeness --photographs NPZ"


def likeness(photographs: Path, side: int, fit: Fit) -> list[float]:
    """Return the decibels of each photograph.

    Args:
        photographs: a folder with JPEG files, at any depth.
        side: pixels of a side of the squares.
        fit: how they become squares.
    """
    found = []
    for path in sorted(photographs.rglob("*.jpg")):
        read = partial(decode_image, path.read_bytes(), channels=3, where=str(path))
        gaps = resize_image(read(), side, fit=fit).astype(float)
        gaps -= read(size=side, fit=fit)
        if gaps.any():
            found.append(float(10 * np.log10(255**2 / np.mean(gaps**2))))
    return found


def main(photographs: Path, count: int = 200, side: int = 256) -> None:
    """Write `records/jpeg_likeness.json`.

    Args:
        photographs: npz file of photographs.
        count: of them.
        side: pixels of a side of the squares.
    """
    with tempfile.TemporaryDirectory() as place:
        write_folder(photographs, Path(place), count)
        decibels = {
            fit: summary(likeness(Path(place), side, fit)) for fit in get_args(Fit)
        }
    print(write_record("jpeg_likeness", COMMAND, side=side, decibels=decibels))


if __name__ == "__main__":
    tyro.cli(main)
