"""Pictures as a detector is shown them: resized, padded, in batches of one shape.

A batch has pictures that all lie, or all stand, on a canvas that the largest of them
fills; so there are two shapes at most, and two compiled programs. Which pictures a
batch has, and which are mirrored, are functions of the seed and the step.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.transitive.detection.annotated import Picture, read_pixels

STRIDE = 32
"""Sides of a canvas are multiples, so that no pool drops a row."""

CACHE_BYTES = 2**31
"""Pixels of all pictures up to which they are decoded once and kept."""


def fit_scale(height: int, width: int, *, short: int, long: int) -> float:
    """Return the factor that takes the short side to `short`, the long one to no more.

    s = min(short / min(h, w), long / max(h, w))

    Args:
        height: of a picture, pixels.
        width: of it.
        short: wanted for the shorter side.
        long: at most, of the longer side.

    >>> [fit_scale(height, 400, short=600, long=1000) for height in (300, 100)]
    [2.0, 2.5]
    """
    return min(short / min(height, width), long / max(height, width))


@dataclass(frozen=True)
class Shown:
    """A picture as it is shown, its boxes and regions in pixels of that.

    Attributes:
        pixels: uint8 [h, w, 3].
        scale: (down, across), pixels shown over pixels of the picture.
        boxes: float32 [N, 4].
        classes: int32 [N].
        usable: bool [N], those that are not difficult.
        regions: float32 [P, 4], proposed by selective search, in random order.
    """

    pixels: np.ndarray
    scale: tuple[float, float]
    boxes: np.ndarray
    classes: np.ndarray
    usable: np.ndarray
    regions: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """The pictures of a split.

    Attributes:
        pictures: with their objects.
        regions: of each, float32 [P, 4] in pixels of the picture; None: none are
            needed.
        short: pixels of the shorter side.
        long: most pixels of the longer side.
    """

    pictures: Sequence[Picture]
    regions: Sequence[np.ndarray] | None
    short: int
    long: int

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of a picture as it is shown."""
        picture = self.pictures[index]
        scale = fit_scale(
            picture.height, picture.width, short=self.short, long=self.long
        )
        # Of a picture that is very long, the short side may come to nothing.
        sides = (round(side * scale) for side in (picture.height, picture.width))
        height, width = (max(1, side) for side in sides)
        return height, width

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Height and width of each picture as it is shown, int [N, 2]."""
        sizes = [self.size(index) for index in range(len(self))]
        return np.array(sizes, int).reshape(-1, 2)

    @functools.cached_property
    def most_objects(self) -> int:
        """Objects of the picture that has most, at least 1."""
        return max((len(one.boxes) for one in self.pictures), default=0) or 1

    def show(self, index: int) -> Shown:
        """Return a picture resized, with what is known of it."""
        picture, (height, width) = self.pictures[index], self.sizes[index]
        down, across = height / picture.height, width / picture.width
        factor = np.array([across, down, across, down], np.float32)
        empty = np.zeros((0, 4), np.float32)
        regions = empty if self.regions is None else self.regions[index]
        return Shown(
            self._pixels(index),
            (down, across),
            picture.boxes * factor,
            picture.classes,
            ~picture.difficult,
            regions * factor,
        )

    @functools.cached_property
    def _pixels(self) -> Any:
        small = 3 * int(self.sizes.prod(axis=1).sum()) <= CACHE_BYTES
        return functools.cache(self._resized) if small else self._resized

    def _resized(self, index: int) -> np.ndarray:
        from PIL import Image

        height, width = self.sizes[index]
        image = Image.fromarray(read_pixels(self.pictures[index]))
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def mirrored(shown: Shown) -> Shown:
    """Return a picture mirrored, with its boxes.

    >>> shown = Shown(np.zeros((2, 10, 3), np.uint8), (1.0, 1.0),
    ...     np.array([[1.0, 0, 4, 2]]), np.zeros(1, int), np.ones(1, bool),
    ...     np.zeros((0, 4)))
    >>> mirrored(shown).boxes
    array([[6., 0., 9., 2.]])
    """
    width = shown.pixels.shape[1]

    def turned(boxes: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = boxes.T
        return np.stack([width - x2, y1, width - x1, y2], axis=1)

    return Shown(
        shown.pixels[:, ::-1],
        shown.scale,
        turned(shown.boxes),
        shown.classes,
        shown.usable,
        turned(shown.regions),
    )


def canvases(*splits: Pictures) -> dict[str, tuple[int, int]]:
    """Return height and width of the canvas of pictures that lie, and that stand.

    They hold the largest picture of any split, rounded up to multiples of `STRIDE`.
    """
    sizes = np.concatenate([split.sizes for split in splits])
    lies = sizes[:, 1] >= sizes[:, 0]
    found = {}
    for name, chosen in (("lying", sizes[lies]), ("standing", sizes[~lies])):
        if len(chosen):
            height, width = -(-chosen.max(axis=0) // STRIDE) * STRIDE
            found[name] = (int(height), int(width))
    return found


def whole_canvases(short: int, long: int) -> dict[str, tuple[int, int]]:
    """Return the canvases that any picture fits on, as `canvases` does.

    Args:
        short: pixels of the shorter side.
        long: most pixels of the longer side.

    >>> whole_canvases(600, 1000)
    {'lying': (608, 1024), 'standing': (1024, 608)}
    """
    height, width = (-(-side // STRIDE) * STRIDE for side in (short, long))
    return {"lying": (height, width), "standing": (width, height)}


def pad_batch(
    shown: Sequence[Shown], canvas: tuple[int, int], *, objects: int, regions: int
) -> dict[str, np.ndarray]:
    """Return a batch of one shape.

    Args:
        shown: its pictures.
        canvas: height and width of all.
        objects: rows of boxes of each picture.
        regions: rows of regions of each; those beyond are left out.

    Returns:
        `image` uint8 [B, H, W, 3], in the upper left corner and 0 beside it; `size`
        float32 [B, 2], height and width without that; `boxes` float32 [B, N, 4],
        `classes` int32 [B, N] and `usable` bool [B, N], False where there is no object
        or a difficult one; `regions` float32 [B, P, 4] and `proposed` bool [B, P].
    """
    batch = {
        "image": np.zeros((len(shown), *canvas, 3), np.uint8),
        "size": np.zeros((len(shown), 2), np.float32),
        "boxes": np.zeros((len(shown), objects, 4), np.float32),
        "classes": np.zeros((len(shown), objects), np.int32),
        "usable": np.zeros((len(shown), objects), bool),
        "regions": np.zeros((len(shown), regions, 4), np.float32),
        "proposed": np.zeros((len(shown), regions), bool),
    }
    for row, one in enumerate(shown):
        height, width = one.pixels.shape[:2]
        count, proposed = len(one.boxes), min(len(one.regions), regions)
        batch["image"][row, :height, :width] = one.pixels
        batch["size"][row] = height, width
        batch["boxes"][row, :count] = one.boxes
        batch["classes"][row, :count] = one.classes
        batch["usable"][row, :count] = one.usable
        batch["regions"][row, :proposed] = one.regions[:proposed]
        batch["proposed"][row, :proposed] = True
    return batch


def epoch_batches(
    sizes: np.ndarray, batch: int, *, seed: int, epoch: int
) -> list[np.ndarray]:
    """Return the pictures of each batch of an epoch.

    All of a batch lie, or all stand. Each picture comes once; a last batch that would
    not be full takes others of its kind again.

    Args:
        sizes: height and width of each picture, int [N, 2].
        batch: pictures in one.
        seed: of the run.
        epoch: passes before this one.

    Returns:
        int [B] each, in the order in which they come.

    >>> sizes = np.array([[2, 3], [3, 2], [2, 3], [2, 3]])
    >>> [sorted(rows.tolist()) for rows in epoch_batches(sizes, 3, seed=0, epoch=0)]
    [[1, 1, 1], [0, 2, 3]]
    """
    rng = np.random.default_rng([seed, epoch])
    lies = sizes[:, 1] >= sizes[:, 0]
    found: list[np.ndarray] = []
    for kind in (lies, ~lies):
        order = rng.permutation(np.flatnonzero(kind))
        count = -(-len(order) // batch)
        found += np.split(np.resize(order, count * batch), count) if count else []
    return [found[place] for place in rng.permutation(len(found))]


def train_batches(
    pictures: Pictures,
    canvas: dict[str, tuple[int, int]],
    *,
    batch: int,
    seed: int,
    start: int,
    stop: int,
    rows: np.ndarray,
    regions: int,
    flip: bool,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the batches of steps `start` to `stop`.

    Args:
        pictures: to train on.
        canvas: as of `canvases`.
        batch: pictures in one.
        seed: of the run.
        start: first step.
        stop: step to end before.
        rows: which of a batch this process brings.
        regions: rows of regions of each picture.
        flip: whether every other picture is mirrored, by chance.
    """
    per_epoch = len(epoch_batches(pictures.sizes, batch, seed=seed, epoch=0))
    listed = functools.lru_cache(maxsize=1)(
        functools.partial(epoch_batches, pictures.sizes, batch, seed=seed)
    )
    for step in range(start, stop):
        epoch, place = divmod(step, per_epoch)
        chosen = listed(epoch=epoch)[place]
        turned = np.random.default_rng([seed, step, 1]).random(batch) < 0.5
        shown = [
            mirrored(pictures.show(picture))
            if flip and turn
            else pictures.show(picture)
            for picture, turn in zip(
                chosen[rows].tolist(), turned[rows].tolist(), strict=True
            )
        ]
        height, width = pictures.sizes[chosen[0]]
        yield pad_batch(
            shown,
            canvas["lying" if width >= height else "standing"],
            objects=pictures.most_objects,
            regions=regions,
        )
