"""Loaders of the same photographs: ours, tf.data, and torchvision's way.

    PYTHON -m benchmarks.throughput.loaders NAME FOLDER SIDE

Each is a process in an environment of its own, as versions may clash; so none imports
what another needs. It prints how many images it read, warped and stacked by 32 in a
pass, the seconds of that pass, after one that has warmed it up, and its versions.
"""

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Pass = Callable[[], int]

OURS = "lars_jax"
CHUNK = 32
"""Images that are stacked, as our threads stack them."""


def ours(files: list[str], side: int) -> Pass:
    """Return a pass as a thread of ours reads a folder."""
    from lars_jax.data import folder_source, read_batch

    source = folder_source(Path(files[0]).parents[2], "train")
    places = range(len(source))

    def run() -> int:
        parts = (places[start : start + CHUNK] for start in places[::CHUNK])
        return sum(len(read_batch(source, part, resize=side)) for part in parts)

    return run


def tensorflow(files: list[str], side: int) -> Pass:
    """Return a pass of tf.data as it resizes unless asked: bilinear, no filter."""
    return _tensorflow(files, side, antialias=False)


def tensorflow_antialiased(files: list[str], side: int) -> Pass:
    """Return the same with the filter that the others have."""
    return _tensorflow(files, side, antialias=True)


def _tensorflow(files: list[str], side: int, *, antialias: bool) -> Pass:
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def read(file):
        image = tf.io.decode_jpeg(tf.io.read_file(file), channels=3)
        resized = tf.image.resize(image, (side, side), antialias=antialias)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

    data: Any = tf.data.Dataset.from_tensor_slices(files).map(read)
    options = tf.data.Options()
    # Its thread would take turns with the one that reads.
    options.autotune.enabled = False
    data = data.batch(CHUNK).with_options(options)
    return lambda: sum(len(batch) for batch in data.as_numpy_iterator())


def torchvision(files: list[str], side: int) -> Pass:
    """Return a pass as torchvision's folders are read: Pillow, `Resize`, a tensor."""
    import torch  # pyright: ignore[reportMissingImports]
    from PIL import Image
    from torchvision import transforms  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    prepare = transforms.Compose(
        [transforms.Resize((side, side)), transforms.PILToTensor()]
    )

    def read(file: str):
        with Image.open(file) as image:
            return prepare(image.convert("RGB"))

    def run() -> int:
        count = 0
        for start in range(0, len(files), CHUNK):
            part = files[start : start + CHUNK]
            count += len(torch.stack([read(file) for file in part]))
        return count

    return run


LOADERS = {
    OURS: ours,
    "tf.data": tensorflow,
    "tf.data, antialiased": tensorflow_antialiased,
    "torchvision": torchvision,
}

PACKAGES = {
    OURS: ("pillow", "simplejpeg"),
    "tf.data": ("tensorflow-cpu",),
    "tf.data, antialiased": ("tensorflow-cpu",),
    "torchvision": ("torchvision", "pillow"),
}
"""What tells a loader's speed, as it is installed."""

if __name__ == "__main__":
    name, folder, side = sys.argv[1:]
    files = sorted(str(path) for path in Path(folder).rglob("*.jpg"))
    run = LOADERS[name](files, int(side))
    run()
    started = time.perf_counter()
    count = run()
    seconds = time.perf_counter() - started
    print(count, seconds, *(f"{one} {version(one)}" for one in PACKAGES[name]))
