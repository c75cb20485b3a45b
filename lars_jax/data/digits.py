"""The embedded data set: handwritten digits that scikit-learn carries.

1,797 images of 8x8 pixels with 17 grey levels, the test part of the UCI set
"Optical Recognition of Handwritten Digits". It needs no download, and a small network
learns it in seconds, so it is the data of the tests and of the first example.
"""

import functools

import numpy as np

from lars_jax.data.order import DIGITS_SPLIT, random_bits
from lars_jax.data.source import ArraySource
from lars_jax.errors import InputError

TEST_PER_CLASS = 36
"""Digits of each class in the test split: 360 of 1,797, a fifth."""


def digits_source(split: str) -> ArraySource:
    """Return the digits, split once and for all into training and test examples.

    The test split holds 36 of each class, drawn at random with a fixed seed; the other
    1,437 are the training split. Both keep the order of scikit-learn's array. Grey
    level v of 0 .. 16 becomes floor((255 v + 8) / 16), that is 255 v / 16 rounded to
    the nearest: 0 is 0, 8 is 128, 16 is 255, and every level stays distinct.

    Args:
        split: "train" or "test".

    Returns:
        A source of uint8 [8, 8, 1] images with classes "0" .. "9".

    Raises:
        InputError: another split.

    Reference:
        Alpaydin and Kaynak 1998, UCI Machine Learning Repository, doi 10.24432/C50P49.

    >>> len(digits_source("train")), len(digits_source("test"))
    (1437, 360)
    """
    if split not in ("train", "test"):
        raise InputError(
            f"The digits have the splits train and test, got {split!r}; name one."
        )
    image, label = _load()
    chosen = _test_mask(label) == (split == "test")
    names = tuple(str(digit) for digit in range(10))
    return ArraySource(f"digits/{split}", names, image[chosen], label[chosen])


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    # scikit-learn takes a second to import, and other data sets do not need it.
    from sklearn.datasets import load_digits

    level, label = load_digits(return_X_y=True)
    image = (255 * np.asarray(level, np.int32).reshape(-1, 8, 8, 1) + 8) // 16
    return image.astype(np.uint8), np.asarray(label, np.int32)


def _test_mask(label: np.ndarray) -> np.ndarray:
    draw = random_bits(len(label), seed=0, purpose=DIGITS_SPLIT)
    test = np.zeros(len(label), bool)
    for digit in range(10):
        members = np.flatnonzero(label == digit)
        test[members[np.argsort(draw[members], kind="stable")[:TEST_PER_CLASS]]] = True
    return test
