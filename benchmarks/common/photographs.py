"""Photographs that lie in one npz file, as their JPEG files one after the other."""

from pathlib import Path

import numpy as np


def read_photographs(path: Path) -> tuple[list[bytes], np.ndarray]:
    """Return JPEG files and their labels, int32 [N].

    Args:
        path: of an npz file with `data`, uint8, where each file of it `ends`, and
            `labels`.
    """
    with np.load(path) as file:
        data, ends, labels = file["data"], file["ends"], file["labels"]
    parts = zip([0, *ends[:-1]], ends, strict=True)
    return [data[start:end].tobytes() for start, end in parts], labels.astype(np.int32)
