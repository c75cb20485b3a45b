"""ETH-80 as it is handed out, a PNG a view, in the one file that a pipeline reads.

    python -m experiments.transitive.pack_eth80 FOLDER eth80.npz

Photographs are named CATEGORY OBJECT - ELEVATION - AZIMUTH, as apple1-090-022.png, and
lie at any depth; what is named otherwise, such as maps of the objects, is passed over.
"""

import io
import re
import sys
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from lars_jax.data.decode import decode_image, resize_image
from lars_jax.errors import InputError, naming
from lars_jax.files import local_path, replacing
from lars_jax.runs.ending import report_error

NAME = re.compile(r"([a-z]+)(\d+)-(\d{3})-(\d{3})\.png", re.IGNORECASE)

QUALITY = 95
"""Of the JPEG files within the file, whose colours are as fine as their grey."""


def pack(folder: Path, file: Path, side: int = 96) -> int:
    """Write the photographs of a folder to a file, and return their number.

    Args:
        folder: of PNG files.
        file: `.npz`, as `experiments.transitive.eth80.read_eth80` reads it.
        side: pixels a side that they are resized to.

    Raises:
        InputError: no photographs there, one that cannot be read, or a side below 1.
    """
    if side < 1:
        raise InputError(f"side must be at least 1 pixel; got {side}: set --side to 96")
    named = [
        (match[1].lower(), int(match[2]), int(match[3]), int(match[4]), path)
        for path in sorted(local_path(folder).rglob("*"))
        if (match := NAME.fullmatch(path.name))
    ]
    if not named:
        raise InputError(
            "photographs of ETH-80 are named as apple1-090-022.png; "
            f"{folder} has none: name the folder that holds them, at any depth"
        )
    categories = sorted({category for category, *_ in named})
    files = [_jpeg(path, side) for *_, path in named]
    label = np.array([categories.index(category) for category, *_ in named])
    columns = np.array([row[1:4] for row in named])
    with replacing(file) as temporary, temporary.open("wb") as opened:
        np.savez(
            opened,
            data=np.frombuffer(b"".join(files), np.uint8),
            ends=np.cumsum([len(one) for one in files]),
            label=label,
            object=columns[:, 0],
            elevation=columns[:, 1],
            azimuth=columns[:, 2],
            categories=np.array(categories),
        )
    return len(named)


def _jpeg(path: Path, side: int) -> bytes:
    with naming(path, "read"):
        data = path.read_bytes()
    image = resize_image(decode_image(data, channels=3, where=str(path)), side)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def main(
    folder: tyro.conf.Positional[Path],
    file: tyro.conf.Positional[Path],
    side: int = 96,
) -> None:
    """Write the photographs of ETH-80 to one file.

    Args:
        folder: that holds them, at any depth.
        file: to write, named *.npz.
        side: pixels a side that they are resized to.
    """
    print(f"{pack(folder, file, side):,} photographs in {file}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(report_error(error))
