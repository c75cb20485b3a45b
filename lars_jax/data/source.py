"""What a data set is: a named, indexable collection of labelled images.

Anything with these members is a `Source`; the package's own are the embedded digits,
image folders and prepared TFDS data sets (`load_source` chooses among them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lars_jax.data.decode import Fit, resize_image
from lars_jax.data.fingerprint import Fingerprint, digest_array
from lars_jax.data.order import HOLD_OUT, random_bits
from lars_jax.errors import InputError

Example = tuple[np.ndarray, int]
"""An image, uint8 [H, W, C], and its label."""


class Collection(Protocol):
    """What a run can remember of its data: examples of named classes.

    One that can tell whether it is the same as before has `fingerprint() ->
    Fingerprint`, one that has something to say to its user `notes`, lines.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; label k is `class_names[k]`."""
        ...

    def __len__(self) -> int: ...


class Source(Collection, Protocol):
    """A labelled image data set that is read by index, from any thread.

    A source that can read many examples at less than the sum of their cost also has
    `__getitems__(indices) -> list[Example]`; `read_examples` uses it where it exists.
    One that resizes better than `resize_image` does afterwards has
    `read_resized(indices, size, fit) -> list[Example]`. One that can tell the height
    and width of an image without decoding it has `image_size(index)`.
    """

    @property
    def name(self) -> str:
        """What the data set and split are called in messages and records."""
        ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A source that is held in memory.

    Attributes:
        name: name of the data set and split.
        class_names: the classes.
        image: uint8 [N, H, W, C].
        label: int32 [N].

    Raises:
        InputError: arrays of another type or shape, or a label that no class has.

    >>> source = ArraySource("two", ("a", "b"), np.zeros((2, 4, 4, 1), np.uint8),
    ...                      np.array([0, 1], np.int32))
    >>> source[1][0].shape, source[1][1]
    ((4, 4, 1), 1)
    """

    name: str
    class_names: tuple[str, ...]
    image: np.ndarray
    label: np.ndarray

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.dtype != np.uint8:
            raise InputError(
                f"Images are uint8 [N, H, W, C], {self.name} has {self.image.dtype} "
                f"{list(self.image.shape)}; convert them."
            )
        if self.label.shape != self.image.shape[:1]:
            raise InputError(
                f"Each image has one label, {self.name} has {len(self.image)} images "
                f"and labels {list(self.label.shape)}; correct the data."
            )
        _require_labels(self, range(len(self.label)), self.label)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int, /) -> Example:
        return self.image[index], int(self.label[index])

    def fingerprint(self) -> Fingerprint:
        """Return what the arrays are known by."""
        arrays = {"images": self.image, "labels": self.label}
        parts = {name: digest_array(array) for name, array in arrays.items()}
        return Fingerprint(len(self), self.class_names, parts)


@dataclass(frozen=True, eq=False)
class Subset:
    """Some of the examples of another source, in the order given.

    Attributes:
        source: where the examples come from.
        indices: int32 [M], their places there.
    """

    source: Source
    indices: np.ndarray

    @property
    def name(self) -> str:
        """Name of the source and the number of examples kept."""
        return f"{self.source.name} ({len(self)} of {len(self.source)})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the whole source."""
        return self.source.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int], /) -> list[Example]:
        return read_examples(self.source, [int(i) for i in self.indices[list(indices)]])

    def read_resized(
        self, indices: Sequence[int], size: int, fit: Fit
    ) -> list[Example]:
        """Return examples with their images resized to squares."""
        places = [int(i) for i in self.indices[list(indices)]]
        return read_examples(self.source, places, size=size, fit=fit)

    def image_size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image."""
        return image_size(self.source, int(self.indices[index]))

    def fingerprint(self) -> Fingerprint:
        """Return what the whole source is known by."""
        return identify(self.source)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """A source whose every image has the label 0, whatever label it had.

    The unlabelled split of STL-10 gives its images the label -1, which no class has.

    Attributes:
        source: where the images come from.

    >>> from lars_jax.data.digits import digits_source
    >>> Unlabelled(digits_source("test"))[3][1]
    0
    """

    source: Source

    @property
    def name(self) -> str:
        """Name of the data set and split."""
        return self.source.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The one class that there is."""
        return ("image",)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[index][0], 0

    def __getitems__(self, indices: Sequence[int], /) -> list[Example]:
        return [(image, 0) for image, _ in _read(self.source, indices)]

    def read_resized(
        self, indices: Sequence[int], size: int, fit: Fit
    ) -> list[Example]:
        """Return examples with their images resized to squares."""
        examples = _read(self.source, indices, size=size, fit=fit)
        return [(image, 0) for image, _ in examples]

    def image_size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image."""
        return image_size(self.source, index)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source has to say to its user."""
        return getattr(self.source, "notes", ())

    def fingerprint(self) -> Fingerprint:
        """Return what the source is known by, its labels included."""
        return identify(self.source)


def hold_out(data: Source, count: int, seed: int = 0) -> tuple[Subset, Subset]:
    """Split the training data at random into what is trained on and what is set aside.

    The choice depends on the number of examples, `count` and `seed` alone, so every run
    of a comparison sets the same examples aside. Both parts keep the order of the data.

    Args:
        data: N examples.
        count: number of examples to set aside, 1 .. N - 1.
        seed: seed of the choice, which is not the run's.

    Returns:
        (training part, held-out part).

    Raises:
        InputError: a count that leaves either part empty.

    >>> from lars_jax.data.digits import digits_source
    >>> train, held_out = hold_out(digits_source("train"), 200)
    >>> len(train), len(held_out)
    (1237, 200)
    """
    size = len(data)
    if not 0 < count < size:
        raise InputError(
            f"A hold-out takes 1 .. {size - 1} of {size} examples, got {count}; "
            "change --holdout."
        )
    order = np.argsort(random_bits(size, seed=seed, purpose=HOLD_OUT), kind="stable")
    held = np.sort(order[:count]).astype(np.int32)
    kept = np.sort(order[count:]).astype(np.int32)
    return Subset(data, kept), Subset(data, held)


def identify(source: Collection) -> Fingerprint:
    """Return what data are known by: of one without more, its size and classes.

    >>> from lars_jax.data.digits import digits_source
    >>> identify(digits_source("test")).examples
    360
    """
    own = getattr(source, "fingerprint", None)
    return own() if own else Fingerprint(len(source), source.class_names, {})


def image_size(source: Source, index: int) -> tuple[int, int]:
    """Return height and width of an image, without decoding it where the source can.

    >>> from lars_jax.data.digits import digits_source
    >>> image_size(digits_source("test"), 0)
    (8, 8)
    """
    own = getattr(source, "image_size", None)
    if own:
        return own(index)
    height, width, _ = source[index][0].shape
    return height, width


def read_examples(
    source: Source,
    indices: Sequence[int],
    *,
    size: int | None = None,
    fit: Fit = "warp",
) -> list[Example]:
    """Return examples, read all at once where the source can, their labels checked.

    Args:
        source: the data set.
        indices: places in it.
        size: height and width that images are resized to; None: they keep their own.
        fit: how, as `resize_image` has it.

    Raises:
        InputError: a label that no class has.

    >>> from lars_jax.data.digits import digits_source
    >>> [label for _, label in read_examples(digits_source("test"), [0, 1, 2])]
    [2, 7, 7]
    """
    examples = _read(source, indices, size=size, fit=fit)
    _require_labels(source, indices, np.array([label for _, label in examples]))
    return examples


def _read(
    source: Source,
    indices: Sequence[int],
    *,
    size: int | None = None,
    fit: Fit = "warp",
) -> list[Example]:
    read_resized = getattr(source, "read_resized", None)
    if size is not None and read_resized:
        return read_resized(indices, size, fit)
    read_many = getattr(source, "__getitems__", None)
    examples = read_many(indices) if read_many else [source[i] for i in indices]
    if size is None:
        return examples
    return [(resize_image(image, size, fit=fit), label) for image, label in examples]


def _require_labels(source: Source, indices: Sequence[int], labels: np.ndarray) -> None:
    classes = len(source.class_names)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"A label of {source.name} is 0 .. {classes - 1}, example "
            f"{indices[wrong[0]]} has {labels[wrong[0]]}; correct the data."
        )
