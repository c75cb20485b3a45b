import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lars_jax.data.order import batch_samples, epoch_order, random_bits, require_batch
from lars_jax.errors import InputError


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.integers(1, 300))
def test_an_epoch_shows_every_example_once(seed, epoch, size):
    np.testing.assert_array_equal(np.sort(epoch_order(seed, epoch, size)), range(size))


def test_order_comes_from_the_stream_that_numpy_keeps_stable():
    words = np.random.Philox(np.random.SeedSequence([3, 5])).random_raw(20)
    np.testing.assert_array_equal(epoch_order(3, 5, 20), np.argsort(words))


def test_order_never_changes_between_releases():
    assert epoch_order(0, 0, 8).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert epoch_order(7, 2, 8).tolist() == [0, 3, 5, 1, 4, 2, 6, 7]


def test_order_differs_between_epochs_and_between_seeds():
    orders = {tuple(epoch_order(seed, e, 50)) for seed in (0, 1) for e in (0, 1, 2)}
    assert len(orders) == 6


def test_every_place_is_taken_by_every_example_equally_often():
    counts = np.zeros((5, 5))
    for epoch in range(2000):
        counts[np.arange(5), epoch_order(0, epoch, 5)] += 1
    # Each cell is binomial(2000, 1/5) with standard deviation 17.9.
    assert np.abs(counts - 400).max() < 5 * 17.9


def test_order_is_int32_and_cannot_be_changed():
    order = epoch_order(0, 0, 4)
    assert order.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 1


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 100),
    size=st.integers(1, 40),
    batch=st.integers(1, 90),
    step=st.integers(0, 60),
)
def test_batches_are_pieces_of_the_epochs_one_after_the_other(seed, size, batch, step):
    index, epoch = batch_samples(seed, step, size, batch)
    for i in range(batch):
        number = step * batch + i
        assert epoch[i] == number // size
        assert index[i] == epoch_order(seed, number // size, size)[number % size]
    assert index.dtype == epoch.dtype == np.int32


def test_two_half_batches_are_the_whole_batch():
    index, epoch = batch_samples(0, 3, 50, 32)
    halves = [batch_samples(0, step, 50, 16) for step in (6, 7)]
    np.testing.assert_array_equal(np.concatenate([half[0] for half in halves]), index)
    np.testing.assert_array_equal(np.concatenate([half[1] for half in halves]), epoch)


def test_sample_numbers_beyond_32_bits_are_exact():
    index, _ = batch_samples(0, 2**28, 1000, 32)
    assert index[0] == epoch_order(0, 2**33 // 1000, 1000)[2**33 % 1000]


def test_streams_of_different_purposes_differ():
    words = {int(random_bits(1, seed=0, purpose=purpose)[0]) for purpose in range(4)}
    assert len(words) == 4


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(InputError, match="A seed is 0 .. 4294967295"):
        random_bits(1, seed=seed)


def test_empty_epoch_is_refused():
    with pytest.raises(InputError, match="at least one example, got 0"):
        epoch_order(0, 0, 0)


@pytest.mark.parametrize(("step", "batch"), [(-1, 4), (0, 0)])
def test_impossible_batch_is_refused(step, batch):
    with pytest.raises(InputError, match="step >= 0 and size >= 1"):
        batch_samples(0, step, 10, batch)


@pytest.mark.parametrize("batch", [0, 11])
def test_batch_must_fit_into_the_data(batch):
    with pytest.raises(InputError, match="larger than the data|at least one example"):
        require_batch(10, batch)
