import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.transitive import context
from experiments.transitive.context import (
    BLURRED,
    OFFSETS,
    PAIRS_PER_PHOTOGRAPH,
    blur,
    check_context,
    cut_pairs,
    draw_pair,
    evaluation_pairs,
    least_side,
    opposite,
    pair_batches,
    resize_photograph,
)
from lars_jax.errors import InputError
from tests.experiments.transitive.photographs import SMALL, photographs


def test_labels_are_a_bijection_in_reading_order():
    around = [o for o in itertools.product((-1, 0, 1), repeat=2) if o != (0, 0)]
    assert list(OFFSETS) == sorted(around)
    for label, (row, column) in enumerate(OFFSETS):
        assert opposite(label) == 7 - label
        assert OFFSETS[opposite(label)] == (-row, -column)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(84, 300),
    st.integers(84, 300),
)
def test_pair_lies_within_and_its_second_patch_where_the_label_says(seed, h, w):
    assert least_side(SMALL) == 84
    first, second, label = draw_pair(np.random.default_rng(seed), h, w, SMALL)
    for one, two, step, length in zip(
        first, second, OFFSETS[label], (h, w), strict=True
    ):
        assert 0 <= min(one, two) <= max(one, two) <= length - 32
        assert abs(two - one - step * 48) <= 2 * SMALL.jitter
    # The gap, less both jitters, stays empty in one direction at least.
    apart = max(abs(a - b) for a, b in zip(first, second, strict=True))
    assert apart >= 32 + 16 - 4


def test_labels_offsets_and_jitters_are_uniform():
    numbers = np.random.default_rng(0)
    pairs = [draw_pair(numbers, 90, 90, SMALL) for _ in range(8000)]
    labels = np.array([pair.label for pair in pairs])
    assert stats.chisquare(np.bincount(labels, minlength=8)).pvalue > 1e-4
    # The difference of two uniform jitters is triangular: 1 .. 5 .. 1 of 25.
    moved = [p.second[0] - p.first[0] - 48 * OFFSETS[p.label][0] for p in pairs]
    expected = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25 * len(pairs)
    assert stats.chisquare(np.bincount(np.array(moved) + 4), expected).pvalue > 1e-4
    # To the right and left there are 90 - 84 + 1 places, 7, each moved by -2 .. 2.
    level = np.array([p.first[1] for p in pairs if OFFSETS[p.label][1] == 1])
    places = np.convolve(np.ones(7), np.ones(5))
    expected = places / places.sum() * len(level)
    assert stats.chisquare(np.bincount(level), expected).pvalue > 1e-4


def test_every_other_pair_is_the_one_before_swapped():
    patches, labels = cut_pairs(photographs()[0][0], np.random.default_rng(0), 8, SMALL)
    assert patches.shape == (8, 2, 32, 32, 3)
    np.testing.assert_array_equal(patches[1::2], patches[::2, ::-1])
    np.testing.assert_array_equal(labels[1::2], 7 - labels[::2])


def test_patches_are_cut_where_the_label_says():
    ramp = np.arange(0, 200, dtype=np.uint8)
    image = np.zeros((200, 200, 3), np.uint8)
    image[..., 0], image[..., 1] = ramp[:, None], ramp[None, :]
    patches, labels = cut_pairs(image, np.random.default_rng(0), 64, SMALL)
    means = patches.mean(axis=(2, 3))
    # Levels fall from 200 to the side of the resized photograph.
    steps = (means[:, 1] - means[:, 0])[:, :2] / (48 * 200 / 105)
    np.testing.assert_allclose(steps, np.array(OFFSETS)[labels], atol=0.3)
    assert set(labels.tolist()) == set(range(8))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((100, 100, 3), (95, 95)),
        ((40, 40, 1), (95, 95)),
        ((300, 400, 3), (84, 112)),  # 82 would hold no pair.
        ((1, 1, 3), (95, 95)),
        # A strip is cut to 120^2 / 84^2 = 2.04 times its height.
        ((100, 5000, 3), (84, 171)),
        ((5000, 100, 1), (171, 84)),
    ],
)
def test_photograph_is_resized_until_every_pair_fits(shape, expected):
    resized = resize_photograph(np.full(shape, 7, np.uint8), 9000, SMALL)
    assert resized.shape == (*expected, 3)
    assert resized.dtype == np.uint8
    assert (resized == 7).all()


def test_sizes_are_uniform_between_the_least_and_the_most_pixels(monkeypatch):
    drawn = []

    def resize(image, pixels, config):
        drawn.append(pixels)
        return image

    monkeypatch.setattr(context, "resize_photograph", resize)
    numbers, image = np.random.default_rng(0), photographs(1)[0][0]
    for _ in range(500):
        cut_pairs(image, numbers, 2, SMALL)
    low, high = SMALL.least_pixels, SMALL.most_pixels
    assert stats.kstest(drawn, "uniform", args=(low, high - low)).pvalue > 1e-4


def test_share_of_patches_that_are_blurred_is_the_one_asked_for():
    image = photographs(1, 300)[0][0]
    numbers = np.random.default_rng(0)
    blurred = 0
    # A size that is that of the photograph leaves the noise as it is.
    config = replace(SMALL, least_pixels=300**2, most_pixels=300**2, blur=0.33)
    for _ in range(50):
        patches, _ = cut_pairs(image, numbers, 8, config)
        blurred += int((patches[::2].std(axis=(2, 3, 4)) < 73).sum())
    assert stats.binomtest(blurred, 400, 0.33).pvalue > 1e-4
    for share, expected in ((0.0, 0), (1.0, 8)):
        patches, _ = cut_pairs(image, numbers, 8, replace(config, blur=share))
        assert (patches[::2].std(axis=(2, 3, 4)) < 73).sum() == expected


def test_blur_takes_fine_detail_and_leaves_the_mean():
    patch = photographs(1, 96)[0][0]
    for share in BLURRED:
        soft = blur(patch, share)
        assert soft.shape == patch.shape
        assert soft.std() < patch.std()
        assert soft.mean() == pytest.approx(patch.mean(), abs=1.0)
    assert [round(96 * share**0.5) for share in BLURRED] == [10, 95]


def taken(batches, steps):
    return list(itertools.islice(batches, steps))


def same(one, two):
    return all(np.array_equal(one[name], two[name]) for name in one)


def test_batch_is_a_function_of_the_seed_and_the_step():
    source = photographs()
    whole = taken(pair_batches(source, SMALL, seed=3, steps=4), 4)
    later = taken(pair_batches(source, SMALL, seed=3, start=2, steps=4), 4)
    assert len(whole) == 4
    assert len(later) == 2
    assert all(map(same, whole[2:], later))
    assert not same(whole[0], whole[1])
    other = next(pair_batches(source, SMALL, seed=4, steps=1))
    assert not np.array_equal(whole[0]["label"], other["label"])
    assert whole[0]["pair"].shape == (20, 2, 32, 32, 3)
    assert whole[0]["label"].dtype == np.int32


@pytest.mark.parametrize("rows", [[3, 17], [19, 0], list(range(8, 16))])
def test_process_makes_the_rows_that_it_is_asked_for(rows):
    source = photographs()
    whole = next(pair_batches(source, SMALL, seed=3, steps=1))
    part = next(pair_batches(source, SMALL, seed=3, steps=1, rows=np.array(rows)))
    assert same({name: value[rows] for name, value in whole.items()}, part)


def test_an_epoch_shows_every_photograph():
    source = photographs(6)
    grey = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    flat = replace(source, image=np.broadcast_to(grey, source.image.shape).copy())
    config = replace(SMALL, context_batch=16)
    batches = taken(pair_batches(flat, config, seed=0, steps=3), 3)
    seen = np.concatenate([batch["pair"][:, 0, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(np.bincount(seen), PAIRS_PER_PHOTOGRAPH)


def test_evaluation_has_every_photograph_once_whatever_the_batch():
    source, found = photographs(5), {}
    for batch in (12, 40, 64):
        parts = list(evaluation_pairs(source, SMALL, batch))
        joined = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
        assert joined["mask"].sum() == 5 * PAIRS_PER_PHOTOGRAPH
        found[batch] = {n: v[joined["mask"]] for n, v in joined.items()}
    assert same(found[12], found[40])
    assert same(found[12], found[64])
    np.testing.assert_array_equal(found[12]["number"], np.arange(40))
    two = list(evaluation_pairs(source, SMALL, 12, rows=np.array([2, 9])))
    np.testing.assert_array_equal(two[1]["number"], [14, 21])
    np.testing.assert_array_equal(two[1]["pair"], found[12]["pair"][[14, 21]])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"least_pixels": 84**2 - 1}, "got least_pixels 7055: raise it to 7056"),
        ({"most_pixels": 8000}, "most_pixels must not be below"),
        ({"jitter": 4, "gap": 7}, "jitter 4 for gap 7"),
        ({"context_batch": 7}, "must be even"),
    ],
)
def test_section_that_cannot_be_cut_by_is_refused(changed, told):
    with pytest.raises(InputError, match=told):
        check_context(replace(SMALL, **changed))


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 4), (0, 9, 3)])
def test_what_is_no_photograph_is_refused(shape):
    with pytest.raises(InputError, match="a photograph must be"):
        resize_photograph(np.zeros(shape, np.uint8), 9000, SMALL)
