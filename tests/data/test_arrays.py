import numpy as np
import pytest

from lars_jax.data import ArraySource, Subset, hold_out, read_batch, to_arrays
from lars_jax.errors import InputError
from tests.data.support import numbered_source


class Unbatched:
    """A source that is read one example at a time."""

    name = "unbatched"
    class_names = ("a", "b", "c")

    def __init__(self, size):
        self.inner = numbered_source(size)

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index, /):
        return self.inner[index]


@pytest.mark.parametrize("threads", [1, 3])
def test_arrays_hold_the_source_in_order(threads):
    arrays = to_arrays(Unbatched(200), threads=threads)
    assert arrays.image.shape == (200, 4, 4, 1)
    assert arrays.image.dtype == np.uint8
    assert arrays.label.dtype == np.int32
    np.testing.assert_array_equal(arrays.image[:, 2, 3, 0], np.arange(200))
    np.testing.assert_array_equal(arrays.label, np.arange(200) % 3)
    assert len(arrays) == 200


def test_source_in_memory_is_not_copied():
    source = numbered_source(5)
    assert to_arrays(source).image is source.image


def test_resize_applies_to_every_image():
    arrays = to_arrays(Unbatched(70), resize=6)
    np.testing.assert_array_equal(arrays.image[:, 5, 5, 0], np.arange(70))
    assert to_arrays(numbered_source(5), resize=2).image.shape == (5, 2, 2, 1)


def test_batch_is_in_the_order_of_its_indices():
    batch = read_batch(numbered_source(9), [7, 0, 7])
    assert batch.image[:, 0, 0, 0].tolist() == [7, 0, 7]
    assert batch.label.tolist() == [1, 0, 1]


@pytest.mark.parametrize("label", [-1, 3])
def test_label_without_a_class_is_refused(label):
    good = numbered_source(5)
    labels = good.label.copy()
    labels[4] = label
    with pytest.raises(InputError, match=f"0 .. 2, example 4 has {label}"):
        ArraySource("bad", good.class_names, good.image, labels)
    bad = Unbatched(5)
    object.__setattr__(bad.inner, "label", labels)
    with pytest.raises(InputError, match=f"0 .. 2, example 4 has {label}"):
        read_batch(bad, [3, 4])


@pytest.mark.parametrize(
    ("image", "label"),
    [
        (np.zeros((2, 4, 4, 1)), np.zeros(2, np.int32)),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int32)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int32)),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(image, label):
    with pytest.raises(InputError, match="Images are uint8|Each image has one label"):
        ArraySource("bad", ("a",), image, label)


def test_empty_source_is_refused():
    with pytest.raises(InputError, match="needs examples, unbatched has none"):
        to_arrays(Unbatched(0))


def test_hold_out_is_disjoint_and_covers_all():
    train, held = hold_out(numbered_source(50), 12)
    assert len(held) == 12
    indices = np.concatenate([train.indices, held.indices])
    assert sorted(indices.tolist()) == list(range(50))


def test_hold_out_is_fixed_by_its_seed():
    first, again, other = (hold_out(numbered_source(50), 12, s)[1] for s in (0, 0, 1))
    np.testing.assert_array_equal(first.indices, again.indices)
    assert first.indices.tolist() != other.indices.tolist()


@pytest.mark.parametrize("count", [0, 50, -3])
def test_hold_out_that_leaves_a_part_empty_is_refused(count):
    with pytest.raises(InputError, match=r"takes 1 \.\. 49 of 50"):
        hold_out(numbered_source(50), count)


def test_subset_reads_through_to_its_source():
    subset = Subset(numbered_source(9), np.array([8, 2], np.int32))
    assert len(subset) == 2
    assert subset[0][0][0, 0, 0] == 8
    assert subset.class_names == ("a", "b", "c")
    assert subset.name == "numbered (2 of 9)"
    assert [label for _, label in subset.__getitems__([1, 0])] == [2, 2]
