"""Pairs of patches for context prediction: which neighbour is the other one?

Doersch et al. cut two neighbouring patches out of a photograph, and a network is to
say in which of eight directions the second lies from the first. It must not find that
out by what says nothing of objects, hence a gap, a jitter, and patches blurred now and
then; colours are dropped later, on the device (`context_network`).

Choices where paper and code leave one:
  * Their patches are the cells of a few grids, and a cell belongs to several pairs;
    here every pair has a grid of its own, so that all labels are equally frequent.
  * A photograph so narrow that no pair fits into its random size is made larger, until
    one does, and cut to its middle where it would be larger than the largest.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.transitive.config import ContextConfig
from lars_jax.data import Source, batch_samples
from lars_jax.data.arrays import usable_cores
from lars_jax.errors import InputError

OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Row and column of each label's neighbour: the order in which one reads."""

PAIRS_PER_PHOTOGRAPH = 8
"""Pairs of a batch that come from one photograph, half of them the others swapped."""

BLURRED = (100 / 96**2, 9025 / 96**2)
"""Range of the share of its pixels that a patch is scaled down to: 10 to 95 of 96."""

TRAINING, EVALUATION = range(2)
"""What a draw is for."""

Batch = dict[str, np.ndarray]


class Pair(NamedTuple):
    """Upper left corners of two patches, row and column in pixels, and their label."""

    first: tuple[int, int]
    second: tuple[int, int]
    label: int


def opposite(label: int) -> int:
    """Return the label of a pair with its patches swapped.

    >>> OFFSETS[1], OFFSETS[opposite(1)]
    ((-1, 0), (1, 0))
    """
    return len(OFFSETS) - 1 - label


def least_side(config: ContextConfig) -> int:
    """Return the side of the smallest square that holds every pair, in pixels.

    >>> least_side(ContextConfig())
    254
    """
    return 2 * config.patch + config.gap + 2 * config.jitter


def check_context(config: ContextConfig) -> ContextConfig:
    """Return the section if patches can be cut by it.

    Raises:
        InputError: a photograph of the smallest size that holds no pair, a range of
            sizes that is none, patches that jitter across their gap, or an odd batch.

    >>> check_context(ContextConfig()).patch
    96
    """
    side = least_side(config)
    if config.least_pixels < side**2:
        raise InputError(
            "the smallest photograph must hold two patches, their gap and their "
            f"jitter, {side}x{side} pixels; got least_pixels {config.least_pixels}: "
            f"raise it to {side**2}, or lower patch, gap or jitter"
        )
    if config.most_pixels < config.least_pixels:
        raise InputError(
            "most_pixels must not be below least_pixels; got "
            f"{config.most_pixels} and {config.least_pixels}: exchange them"
        )
    if 2 * config.jitter > config.gap:
        raise InputError(
            "two patches must not overlap, so jitter is at most half the gap; got "
            f"jitter {config.jitter} for gap {config.gap}: lower one or raise the other"
        )
    if config.context_batch % 2:
        raise InputError(
            "context_batch must be even, each pair being there in both directions; got "
            f"{config.context_batch}: add one"
        )
    return config


def draw_pair(
    numbers: np.random.Generator, height: int, width: int, config: ContextConfig
) -> Pair:
    """Draw a pair of patches, uniform in label, grid offset and both jitters.

    Args:
        numbers: what it is drawn by.
        height: of the photograph, in pixels, at least `least_side`.
        width: as height.
        config: of the patches.

    >>> numbers = np.random.default_rng(0)
    >>> draw_pair(numbers, 254, 300, ContextConfig())
    Pair(first=(9, 55), second=(151, 51), label=6)
    """
    label = int(numbers.integers(len(OFFSETS)))
    pitch, jitter = config.patch + config.gap, config.jitter
    first, second = [], []
    for step, length in zip(OFFSETS[label], (height, width), strict=True):
        room = length - config.patch - abs(step) * pitch - 2 * jitter
        offset = jitter + int(numbers.integers(room + 1))
        moves = numbers.integers(-jitter, jitter + 1, size=2).tolist()
        # The patch above or to the left has the offset, whichever of the two it is.
        first.append(offset + max(0, -step) * pitch + moves[0])
        second.append(offset + max(0, step) * pitch + moves[1])
    return Pair((first[0], first[1]), (second[0], second[1]), label)


def resize_photograph(
    image: np.ndarray, pixels: int, config: ContextConfig
) -> np.ndarray:
    """Return a photograph of about so many pixels, its sides in proportion.

    Args:
        image: uint8 [H, W, C], C = 1, grey, or 3.
        pixels: wanted height times width; more come where a pair would not fit else.
        config: of the patches.

    Returns:
        uint8 [h, w, 3], no side below `least_side`.

    Raises:
        InputError: an image without pixels, or of neither 1 nor 3 channels.

    >>> image = np.zeros((30, 40, 3), np.uint8)
    >>> resize_photograph(image, 480_000, ContextConfig()).shape
    (600, 800, 3)
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or not image.size:
        raise InputError(
            "a photograph must be uint8 [height, width, 1 or 3]; got "
            f"{list(image.shape)}: convert it, or leave it out"
        )
    side = least_side(config)
    image = _middle(image, config.most_pixels / side**2)
    height, width = image.shape[:2]
    scale = max(math.sqrt(pixels / (height * width)), side / min(height, width))
    size = [max(side, round(scale * length)) for length in (width, height)]
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    resized = Image.fromarray(image).resize(
        (size[0], size[1]), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


def blur(patch: np.ndarray, share: float) -> np.ndarray:
    """Return a patch scaled down to a share of its pixels, and back.

    >>> patch = np.zeros((4, 4, 3), np.uint8)
    >>> patch[:, 2:] = 200
    >>> blur(patch, 1 / 16)[0, :, 0].tolist()
    [100, 100, 100, 100]
    """
    side = patch.shape[0]
    small = max(1, round(side * math.sqrt(share)))
    image = Image.fromarray(patch)
    for length in (small, side):
        image = image.resize((length, length), Image.Resampling.BILINEAR)
    return np.asarray(image)


def cut_pairs(
    image: np.ndarray, numbers: np.random.Generator, count: int, config: ContextConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Cut pairs of patches out of a photograph, each in both directions.

    Args:
        image: uint8 [H, W, C].
        numbers: what size, places and blur are drawn by.
        count: number of pairs N, even; pair 2i + 1 is pair 2i swapped.
        config: of the patches.

    Returns:
        Patches uint8 [N, 2, P, P, 3], and labels int32 [N]: patch 1 is the neighbour
        `OFFSETS[label]` of patch 0.

    Raises:
        InputError: as `resize_photograph`.

    >>> image = np.full((300, 400, 3), 9, np.uint8)
    >>> patches, labels = cut_pairs(image, np.random.default_rng(0), 4, ContextConfig())
    >>> patches.shape, (labels[::2] + labels[1::2]).tolist()
    ((4, 2, 96, 96, 3), [7, 7])
    """
    pixels = int(numbers.integers(config.least_pixels, config.most_pixels + 1))
    image = resize_photograph(image, pixels, config)
    side = config.patch
    patches = np.empty((count, 2, side, side, 3), np.uint8)
    labels = np.empty(count, np.int32)
    for i in range(0, count, 2):
        pair = draw_pair(numbers, image.shape[0], image.shape[1], config)
        for end, (top, left) in enumerate((pair.first, pair.second)):
            patch = image[top : top + side, left : left + side]
            # Drawn whether used or not: one patch's blur changes no other's draws.
            blurred, share = numbers.random() < config.blur, numbers.uniform(*BLURRED)
            patches[i, end] = blur(patch, share) if blurred else patch
        patches[i + 1], labels[i] = patches[i, ::-1], pair.label
        labels[i + 1] = opposite(pair.label)
    return patches, labels


def pair_batches(
    source: Source,
    config: ContextConfig,
    *,
    seed: int,
    start: int = 0,
    steps: int,
    rows: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yield the training batches of pairs, each a function of the seed and its step.

    Args:
        source: photographs of any sizes, every one of which an epoch shows once.
        config: of the patches and of the batch.
        seed: seed of the run.
        start: first step to yield.
        steps: number of steps of the whole run; the last one yielded is steps - 1.
        rows: places in each batch to take, in order, int [M]; None: all of them.

    Yields:
        {"pair": uint8 [B, 2, P, P, 3], "label": int32 [B], "number": int32 [B], place
        in the batch}, M of them where there are rows.

    Raises:
        InputError: while iterating, what `check_context` refuses, or an image that
            cannot be read.

    >>> from lars_jax.data import ArraySource
    >>> image = np.zeros((2, 90, 90, 3), np.uint8)
    >>> source = ArraySource("two", ("a",), image, np.zeros(2, np.int32))
    >>> config = ContextConfig(32, 16, 2, 90**2, 100**2, context_batch=12)
    >>> next(pair_batches(source, config, seed=0, steps=1))["pair"].shape
    (12, 2, 32, 32, 3)
    """
    batch = check_context(config).context_batch
    taken = np.arange(batch) if rows is None else rows
    photographs = -(-batch // PAIRS_PER_PHOTOGRAPH)

    def load(step: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        index, _ = batch_samples(seed, step, len(source), photographs)
        count = min(PAIRS_PER_PHOTOGRAPH, batch - place * PAIRS_PER_PHOTOGRAPH)
        numbers = np.random.default_rng([seed, TRAINING, step, place])
        return cut_pairs(source[int(index[place])][0], numbers, count, config)

    needed = np.unique(taken // PAIRS_PER_PHOTOGRAPH)
    # Where the first pair of each photograph that is needed lies among those cut.
    first = {int(place): i * PAIRS_PER_PHOTOGRAPH for i, place in enumerate(needed)}
    local = [
        first[row // PAIRS_PER_PHOTOGRAPH] + row % PAIRS_PER_PHOTOGRAPH
        for row in taken.tolist()
    ]
    pool = ThreadPoolExecutor(usable_cores())
    begun: deque[list[Future[tuple[np.ndarray, np.ndarray]]]] = deque()
    try:
        for step in range(start, steps + 1):
            if step < steps:
                begun.append([pool.submit(load, step, place) for place in first])
            # One batch in the making while the one before is in use.
            if step > start:
                parts = [part.result() for part in begun.popleft()]
                patches, labels = map(np.concatenate, zip(*parts, strict=True))
                number = taken.astype(np.int32)
                yield {"pair": patches[local], "label": labels[local], "number": number}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def evaluation_pairs(
    source: Source, config: ContextConfig, batch: int, *, rows: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yield `PAIRS_PER_PHOTOGRAPH` pairs of every photograph, the same for all seeds.

    Args:
        source: N photographs.
        config: of the patches.
        batch: pairs of a batch B.
        rows: as of `pair_batches`.

    Yields:
        As `pair_batches`, but `number` counts all pairs; and "mask": bool [B], False
        where a pair only pads the last batch.
    """
    total = PAIRS_PER_PHOTOGRAPH * len(source)
    taken = np.arange(batch) if rows is None else rows
    cut: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for start in range(0, total, batch):
        numbers = start + taken
        mask = numbers < total
        places = np.where(mask, numbers, 0) // PAIRS_PER_PHOTOGRAPH
        # A batch may end amid the pairs of a photograph, which the next one needs too.
        cut = {
            place: cut.get(place) or _evaluated(source, place, config)
            for place in np.unique(places).tolist()
        }
        within = np.where(mask, numbers, 0) % PAIRS_PER_PHOTOGRAPH
        found = [(cut[p], i) for p, i in zip(places.tolist(), within, strict=True)]
        yield {
            "pair": np.stack([patches[i] for (patches, _), i in found]),
            "label": np.stack([labels[i] for (_, labels), i in found]),
            "number": numbers.astype(np.int32),
            "mask": mask,
        }


def _evaluated(
    source: Source, place: int, config: ContextConfig
) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng([0, EVALUATION, 0, place])
    return cut_pairs(source[place][0], numbers, PAIRS_PER_PHOTOGRAPH, config)


def _middle(image: np.ndarray, proportion: float) -> np.ndarray:
    """Return an image whose long side is at most so many times its short one."""
    most = max(1, math.floor(proportion * min(image.shape[:2])))
    tops = [max(0, (length - most) // 2) for length in image.shape[:2]]
    return image[tops[0] : tops[0] + most, tops[1] : tops[1] + most]
