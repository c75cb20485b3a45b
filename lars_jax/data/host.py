"""Batches that the host makes: indices for data on the device, images for the rest.

Every iterator is a pure function of its arguments, and batch k of a run that starts at
step k is batch k of the run that starts at 0, so resuming is starting later. Batches
are global; of each a process may take only the `rows` that its devices hold, and reads
no others. Where they go is the caller's business.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from lars_jax.data.arrays import read_batch, require_equal_shape, usable_cores
from lars_jax.data.augment import center_crop
from lars_jax.data.decode import Fit, crop_box, resize_image
from lars_jax.data.order import batch_samples, require_batch
from lars_jax.data.source import Source, read_examples
from lars_jax.errors import InputError

Batch = dict[str, np.ndarray]

# Images that a thread loads at a time: enough small ones to pay for handing them over.
_CHUNK = 32


def index_batches(
    size: int,
    *,
    seed: int,
    batch: int,
    start: int = 0,
    steps: int,
    rows: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yield the examples of each training batch, for data that lies on the device.

    Args:
        size: number of training examples N.
        seed: seed of the run.
        batch: examples per batch B, 1 .. N.
        start: first step to yield.
        steps: number of steps of the whole run; the last one yielded is steps - 1.
        rows: places in each batch to take, in order, int [M]; None: all of them.

    Yields:
        {"index": int32 [B], "epoch": int32 [B]}, M of them where there are rows.

    Raises:
        InputError: a batch larger than the data.

    >>> run = index_batches(100, seed=0, batch=30, steps=4)
    >>> [batch["epoch"].max().item() for batch in run]
    [0, 0, 0, 1]
    """
    require_batch(size, batch)

    taken = slice(None) if rows is None else rows
    samples = (batch_samples(seed, step, size, batch) for step in range(start, steps))
    return ({"index": index[taken], "epoch": epoch[taken]} for index, epoch in samples)


def evaluation_batches(
    size: int, batch: int, *, rows: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yield batches that hold every example exactly once, in order.

    Args:
        size: number of examples N.
        batch: examples per batch B; may exceed N.
        rows: places in each batch to take, in order, int [M]; None: all of them.

    Yields:
        {"index": int32 [B], "mask": bool [B]}; where the mask is False, in the last
        batch alone, the place is padding and its index is 0.

    Raises:
        InputError: no examples or an empty batch.

    >>> [batch["mask"].tolist() for batch in evaluation_batches(3, 2)]
    [[True, True], [True, False]]
    """
    if size < 1 or batch < 1:
        raise InputError(
            f"Evaluation takes at least one example in batches of at least one, got "
            f"{size} in batches of {batch}; correct them."
        )

    taken = slice(None) if rows is None else rows

    def batch_from(first: int) -> Batch:
        index = np.arange(first, first + batch, dtype=np.int32)[taken]
        mask = index < size
        return {"index": np.where(mask, index, np.int32(0)), "mask": mask}

    return map(batch_from, range(0, size, batch))


def image_batches(
    source: Source,
    *,
    seed: int,
    batch: int,
    start: int = 0,
    steps: int,
    resize: int | None = None,
    size: int | None = None,
    random_resized_crop: bool = False,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> Iterator[Batch]:
    """Yield decoded training batches, for data that does not fit on the device.

    The images are those of `index_batches`, in the same order. Threads decode one batch
    ahead of the one in use; their number changes nothing but the speed.

    Args:
        source: the training data, N examples.
        seed: seed of the run.
        batch: examples per batch B, 1 .. N.
        start: first step to yield.
        steps: number of steps of the whole run; the last one yielded is steps - 1.
        resize: warp every image to this square; None keeps the sizes, which must agree.
            A random resized crop is cut from the image as it is stored instead.
        size: height and width of a random resized crop.
        random_resized_crop: cut a random box of each image and warp it to `size`.
        rows: places in each batch to take, in order, int [M]; None: all of them.
        threads: decoders at work at a time; None: one per core.

    Yields:
        {"image": uint8 [B, H, W, C], "label", "index", "epoch": int32 [B]}.

    Raises:
        InputError: a batch larger than the data, a random resized crop without a size,
            or while iterating, what `read_batch` raises.

    >>> from lars_jax.data.digits import digits_source
    >>> batches = image_batches(digits_source("train"), seed=0, batch=64, steps=2)
    >>> [batch["image"].shape for batch in batches]
    [(64, 8, 8, 1), (64, 8, 8, 1)]
    """
    examples, taken = len(source), slice(None) if rows is None else rows
    require_batch(examples, batch)
    if random_resized_crop and size is None:
        raise InputError("A random resized crop needs a size, got None; give one.")

    def load(step: int, low: int, high: int) -> Batch:
        index, epoch = (
            part[taken][low:high] for part in batch_samples(seed, step, examples, batch)
        )
        if random_resized_crop and size is not None:
            image, label = _cropped(source, index, epoch, seed=seed, size=size)
        else:
            read = read_batch(source, index.tolist(), resize=resize)
            image, label = read.image, read.label
        return {"image": image, "label": label, "index": index, "epoch": epoch}

    count = batch if rows is None else len(rows)
    return _assemble(source, load, range(start, steps), count, threads)


def evaluation_images(
    source: Source,
    batch: int,
    *,
    resize: int | None = None,
    fit: Fit = "warp",
    size: int | None = None,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> Iterator[Batch]:
    """Yield every example once, resized and then cropped to the centre.

    Args:
        source: the data, N examples.
        batch: examples per batch B; may exceed N.
        resize: every image to this square; None keeps the sizes, which must agree.
        fit: how, as `resize_image` has it.
        size: height and width of the central crop; None: no crop.
        rows: places in each batch to take, increasing, int [M]; None: all of them.
        threads: decoders at work at a time; None: one per core.

    Yields:
        {"image": uint8 [B, H, W, C], "label": int32 [B], "index": int32 [B],
        "mask": bool [B]}; where the mask is False the image is black and the label 0.

    Raises:
        InputError: no examples, or while iterating, what `read_batch` raises.

    >>> from lars_jax.data.digits import digits_source
    >>> batches = list(evaluation_images(digits_source("test"), 100, size=6))
    >>> len(batches), batches[3]["image"].shape, batches[3]["mask"].sum().item()
    (4, (100, 6, 6, 1), 60)
    """
    plan = list(evaluation_batches(len(source), batch, rows=rows))

    def load(step: int, low: int, high: int) -> Batch:
        index, mask = (plan[step][name][low:high] for name in ("index", "mask"))
        # Padding is decoded as one real example, for its shape, and blacked out.
        count = max(1, int(mask.sum()))
        read = read_batch(source, index[:count].tolist(), resize=resize, fit=fit)
        image = read.image if size is None else center_crop(read.image, size)
        padded = np.zeros((high - low, *image.shape[1:]), np.uint8)
        label = np.zeros(high - low, np.int32)
        if mask.any():
            padded[:count], label[:count] = image, read.label
        return {"image": padded, "label": label, "index": index, "mask": mask}

    count = batch if rows is None else len(rows)
    return _assemble(source, load, range(len(plan)), count, threads)


def _cropped(
    source: Source, index: np.ndarray, epoch: np.ndarray, *, seed: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    places = index.tolist()
    examples = read_examples(source, places)
    images = []
    for (image, _), place, number in zip(examples, places, epoch.tolist(), strict=True):
        height, width = image.shape[:2]
        left, top, right, bottom = crop_box(
            height, width, seed=seed, epoch=number, example=place
        )
        # Cutting first costs less than Pillow's `box`, and unlike it keeps the filter
        # from reaching beyond the crop.
        images.append(resize_image(image[top:bottom, left:right], size))
    return np.stack(images), np.array([label for _, label in examples], np.int32)


def _assemble(
    source: Source,
    load: Callable[[int, int, int], Batch],
    steps: range,
    batch: int,
    threads: int | None,
) -> Iterator[Batch]:
    """Have threads load the parts of each batch, one batch ahead, and join them."""
    workers = threads or usable_cores()
    # Small enough that all threads share in a batch.
    size = min(_CHUNK, -(-batch // workers))
    places = [(low, min(low + size, batch)) for low in range(0, batch, size)]

    def joined(parts: list[Future[Batch]]) -> Batch:
        pieces = [part.result() for part in parts]
        for piece in pieces:
            require_equal_shape(
                source, pieces[0]["image"].shape[1:], piece["image"].shape[1:]
            )
        return {
            name: np.concatenate([piece[name] for piece in pieces])
            for name in pieces[0]
        }

    pool = ThreadPoolExecutor(workers)
    begun: deque[list[Future[Batch]]] = deque()
    try:
        for step in steps:
            begun.append([pool.submit(load, step, *place) for place in places])
            # One batch in the making while the one before is in use.
            if len(begun) > 1:
                yield joined(begun.popleft())
        while begun:
            yield joined(begun.popleft())
    finally:
        # Nobody will ask for what has not yet begun, nor waits for what has.
        pool.shutdown(wait=False, cancel_futures=True)
