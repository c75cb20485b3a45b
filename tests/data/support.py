"""Small real data sets on disk for the tests of `lars_jax.data`."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lars_jax.data import ArraySource, digits_source


def numbered_source(size: int, side: int = 4, classes: int = 3) -> ArraySource:
    """Return N images whose pixels all equal their index, with labels in turn."""
    pixels = np.arange(size, dtype=np.uint8).reshape(-1, 1, 1, 1)
    image = np.tile(pixels, (1, side, side, 1))
    label = np.arange(size, dtype=np.int32) % classes
    return ArraySource("numbered", tuple("abcdefghij"[:classes]), image, label)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """Return an image file in memory."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def write_digits(root: Path, split: str = "train", count: int = 30) -> ArraySource:
    """Write real digits as root/split/class/number.png; return what was written."""
    source = digits_source("train")
    for index in range(count):
        image, label = source[index]
        folder = root / split / source.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:04d}.png").write_bytes(encoded(image[..., 0]))
    return source


def prepared_directory(dataset: str) -> str:
    """Return $TFDS_DATA_DIR where it holds the data set; else skip, and say why."""
    root = os.environ.get("TFDS_DATA_DIR")
    if not root:
        pytest.skip("TFDS_DATA_DIR is not set")
    if not (Path(root) / dataset).is_dir():
        pytest.skip(f"TFDS_DATA_DIR has no {dataset}")
    return root
