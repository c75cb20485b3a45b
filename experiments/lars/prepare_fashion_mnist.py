"""Fashion-MNIST as TFDS has it, from the four files that it is handed out in.

    apt-get install dataset-fashion-mnist
    python -m experiments.lars.prepare_fashion_mnist DATA_DIR
    python -m experiments.lars train fashion_mnist --data-dir DATA_DIR

Neither TensorFlow nor a network is needed. Xiao, Rasul and Vollgraf, 2017, arXiv
1708.07747.
"""

import contextlib
import gzip
import io
import math
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tensorflow_datasets.image_classification import mnist

from lars_jax.data import load_source
from lars_jax.errors import InputError, naming
from lars_jax.files import local_path, make_directory
from lars_jax.runs.ending import report_error

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist has the files."""

FILES = {"train": "train", "test": "t10k"}
"""What the names of a split's two files begin with."""

SIDE = 28
CLASSES = 10

Split = tuple[np.ndarray, np.ndarray]
"""Images, uint8 [N, 28, 28], and their labels, uint8 [N]."""


def prepare(data_dir: Path, folder: Path = FOLDER) -> dict[str, int]:
    """Prepare Fashion-MNIST where it is not yet, and return the sizes of its splits.

    It is written whole or not at all, and the same files become the same bytes.

    Args:
        data_dir: where prepared data sets lie.
        folder: of the four files, named as in `train-images-idx3-ubyte.gz`.

    Raises:
        InputError: a file is missing, damaged or another one than its name says, or
            what is prepared already is incomplete.

    >>> prepare(Path("/no/such/place"), Path("/nor/this"))
    Traceback (most recent call last):
    lars_jax.errors.InputError: Fashion-MNIST is train-images-idx3-ubyte.gz and ...
    """
    data_dir = local_path(data_dir)
    version = str(mnist.FashionMNIST.VERSION)
    with naming(data_dir, "read"):
        there = (data_dir / "fashion_mnist" / version).exists()
    if not there:
        _write(read_splits(folder), data_dir)
    return {
        split: len(load_source(f"fashion_mnist:{version}", split, data_dir=data_dir))
        for split in FILES
    }


def read_splits(folder: Path) -> dict[str, Split]:
    """Read images and labels of both splits.

    Args:
        folder: as for `prepare`.

    Raises:
        InputError: as of `prepare`.
    """
    folder = local_path(folder)
    names = {
        split: (f"{start}-images-idx3-ubyte.gz", f"{start}-labels-idx1-ubyte.gz")
        for split, start in FILES.items()
    }
    for name in (name for pair in names.values() for name in pair):
        with naming(folder, "read"):
            there = (folder / name).exists()
        if not there:
            raise InputError(
                "Fashion-MNIST is train-images-idx3-ubyte.gz and three files beside "
                f"it; {folder} has no {name}: install Debian's package "
                "dataset-fashion-mnist, or name the folder that holds them by --folder"
            )
    return {
        split: _read_split(folder / images, folder / labels)
        for split, (images, labels) in names.items()
    }


def _read_split(images: Path, labels: Path) -> Split:
    image, label = read_idx(images, 3), read_idx(labels, 1)
    if image.shape[1:] != (SIDE, SIDE) or not len(image):
        raise InputError(
            f"images must be one or more of {SIDE}x{SIDE} pixels; {images} has "
            f"{list(image.shape)}: take the files of Fashion-MNIST"
        )
    if len(label) != len(image):
        raise InputError(
            f"every image must have a label; {labels} has {len(label)} for "
            f"{len(image)} images: take all files of one release"
        )
    if label.max() >= CLASSES:
        raise InputError(
            f"labels must be below {CLASSES}; {labels} has {label.max()}: take the "
            "files of Fashion-MNIST"
        )
    return image, label


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a gzipped IDX file of bytes.

    Args:
        path: of the file.
        dimensions: how many it must have.

    Returns:
        A uint8 array of the shape in the file's header.

    Raises:
        InputError: the file cannot be read, is cut short or of another kind.

    >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
    >>> found = path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])))
    >>> read_idx(path, 1)
    array([7, 9], dtype=uint8)
    """
    try:
        with naming(path, "read"):
            packed = path.read_bytes()
        data = gzip.decompress(packed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} must be a whole gzip file; it is not ({error}): copy or install "
            "it again"
        ) from error
    start = 4 + 4 * dimensions
    # Two zeros, the type, which is 8 for bytes, and the number of dimensions.
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic or len(data) < start:
        raise InputError(
            f"an IDX file of bytes in {dimensions} dimensions begins with "
            f"{magic.hex()} and their sizes; {path} with {data[:start].hex() or '-'}: "
            "take the file that belongs there"
        )
    shape = np.frombuffer(data, ">u4", dimensions, 4).tolist()
    if len(data) - start != math.prod(shape):
        raise InputError(
            f"an IDX file of {shape} holds {math.prod(shape)} bytes; {path} holds "
            f"{len(data) - start}: copy or install it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


class _Local(mnist.FashionMNIST, skip_registration=True):
    """TFDS's own builder, with its names and its order, of arrays."""

    name = "fashion_mnist"
    # Part of what is written, which must not depend on how this module is run.
    __module__ = mnist.FashionMNIST.__module__

    def __init__(self, splits: dict[str, Split], data_dir: Path):
        super().__init__(data_dir=data_dir, file_format="array_record")
        self._splits = splits

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {name: _examples(*split) for name, split in self._splits.items()}


def _examples(image: np.ndarray, label: np.ndarray) -> Iterator[tuple[int, Any]]:
    for number, (pixels, kind) in enumerate(zip(image, label, strict=True)):
        # TFDS would ask TensorFlow for it.
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        yield number, {"image": file.getvalue(), "label": int(kind)}


def _write(splits: dict[str, Split], data_dir: Path) -> None:
    make_directory(data_dir)
    try:
        with (
            naming(data_dir, "written"),
            # A folder for downloads is made though there are none.
            tempfile.TemporaryDirectory() as unused,
            # It is said, too, that they begin.
            contextlib.redirect_stdout(io.StringIO()),
        ):
            _Local(splits, data_dir).download_and_prepare(download_dir=unused)
    # Of array_record's writer, where a disk is full.
    except RuntimeError as error:
        raise InputError(
            f"{data_dir} must take some 50 MB of files; it did not "
            f"({' '.join(str(error).split())[:200]}): free some space, then run the "
            "command again"
        ) from error


def main(data_dir: tyro.conf.Positional[Path], folder: Path = FOLDER) -> None:
    """Prepare Fashion-MNIST for `--dataset fashion_mnist`, unless it is already.

    Args:
        data_dir: where prepared data sets lie, as `train` has it by --data-dir.
        folder: that holds the four files, train-images-idx3-ubyte.gz and others.
    """
    sizes = prepare(data_dir, folder)
    parts = " and ".join(f"{size:,} of {split}" for split, size in sizes.items())
    print(f"fashion_mnist in {data_dir}: {parts}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(report_error(error))
