"""Training examples set aside, to choose hyperparameters without the test split."""

import numpy as np

from lars_jax.data.order import HOLD_OUT, random_bits
from lars_jax.data.source import Source, Subset
from lars_jax.errors import InputError


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
