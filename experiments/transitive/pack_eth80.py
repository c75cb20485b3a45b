"""ETH-80 as it is handed out, a PNG a view, in the one file that a pipeline reads.

    python -m experiments.transitive.pack_eth80 FOLDER eth80.npz

Photographs are named CATEGORY OBJECT - ELEVATION - AZIMUTH, as apple1-090-022.png, and
lie at any depth; what is named otherwise, such as maps of the objects, is passed over.
"""

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image

from lars_jax.data.decode import decode_image, resize_image
from lars_jax.errors import InputError, naming
from lars_jax.files import local_path, replacing
from lars_jax.runs import Positive
from lars_jax.runs.arguments import parse
from lars_jax.runs.ending import status_of

COMMAND = "python -m experiments.transitive.pack_eth80"

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
        InputError: no photographs there, one that cannot be read, a view twice, or a
            file of another name.
    """
    if file.suffix != ".npz":
        raise InputError(
            f"photographs must be packed into a file *.npz; got {file}: name another"
        )
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
    first: dict[tuple[Any, ...], Path] = {}
    for *view, path in named:
        other = first.setdefault(tuple(view), path)
        if other is not path:
            raise InputError(
                f"a view of an object must be there once; got {other} and {path}: name "
                "the folder of one of them"
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


@dataclass(frozen=True)
class Pack:
    """Write the photographs of ETH-80 to one file."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Folder that holds them, at any depth."""
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """File to write, named *.npz."""
    side: Positive = 96
    """Pixels a side that they are resized to."""


def main(words: Sequence[str] | None = None) -> int:
    """Pack what the command line names and return the exit status."""

    def run() -> None:
        asked = parse(Pack, sys.argv[1:] if words is None else words, prog=COMMAND)
        count = pack(asked.folder, asked.file, asked.side)
        print(f"{count:,} photographs in {asked.file}")

    return status_of(run)


if __name__ == "__main__":
    sys.exit(main())
