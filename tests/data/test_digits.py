import numpy as np
import pytest
from sklearn.datasets import load_digits

from lars_jax.data import digits_source, load_source
from lars_jax.errors import InputError


def test_splits_are_disjoint_and_cover_all_digits():
    level, label = load_digits(return_X_y=True)
    both = [digits_source(split) for split in ("train", "test")]
    images = np.concatenate([part.image for part in both]).reshape(1797, 64)
    levels = np.rint(np.concatenate([level, label[:, None]], 1)).astype(int)
    labels = np.concatenate([part.label for part in both])
    ours = np.concatenate([np.rint(images / 255 * 16), labels[:, None]], 1).astype(int)
    assert sorted(map(tuple, ours)) == sorted(map(tuple, levels))


def test_test_split_is_stratified():
    assert np.bincount(digits_source("test").label).tolist() == [36] * 10
    assert len(digits_source("train")) == 1437


def test_grey_levels_are_rounded_to_bytes():
    # 255 * 3 / 16 = 47.8, and the half of 255 * 8 / 16 = 127.5 goes up.
    level, label = load_digits(return_X_y=True)
    source = digits_source("train")
    seen = np.unique(source.image).tolist()
    assert len(seen) == 17
    assert seen[0] == 0
    assert seen[3] == 48
    assert seen[8] == 128
    assert seen[16] == 255


def test_split_never_changes_between_releases():
    source = digits_source("test")
    assert source.label[:10].tolist() == [2, 7, 7, 8, 0, 6, 5, 6, 9, 7]
    assert int(source.image.astype(np.int64).sum()) == 1787992


def test_example_is_an_image_and_a_label():
    image, label = load_source("digits", "test")[0]
    assert image.shape == (8, 8, 1)
    assert image.dtype == np.uint8
    assert type(label) is int
    assert load_source("digits", "test").class_names[label] == "2"


def test_unknown_split_is_refused():
    with pytest.raises(InputError, match="train and test, got 'validation'"):
        load_source("digits", "validation")
