"""Training examples set aside, to choose hyperparameters without the test split."""

from typing import overload

import numpy as np

from lars_jax.data.arrays import ImageArrays
from lars_jax.data.order import HOLD_OUT, random_bits
from lars_jax.data.source import Source, Subset
from lars_jax.errors import InputError


@overload
def hold_out(
    data: ImageArrays, count: int, seed: int = 0
) -> tuple[ImageArrays, ImageArrays]: ...


@overload
def hold_out(data: Source, count: int, seed: int = 0) -> tuple[Subset, Subset]: ...


def hold_out(
    data: ImageArrays | Source, count: int, seed: int = 0
) -> tuple[ImageArrays | Subset, ImageArrays | Subset]:
    """Split the training data at random into what is trained on and what is set aside.

    The choice depends on the number of examples, `count` and `seed` alone, so every run
    of a comparison sets the same examples aside. Both parts keep the order of the data.

    Args:
        data: arrays or a source of N examples.
        count: number of examples to set aside, 1 .. N - 1.
        seed: seed of the choice, which is not the run's.

    Returns:
        (training part, held-out part), of the kind that came in.

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
    if isinstance(data, ImageArrays):
        return (
            ImageArrays(data.image[kept], data.label[kept]),
            ImageArrays(data.image[held], data.label[held]),
        )
    return Subset(data, kept), Subset(data, held)
