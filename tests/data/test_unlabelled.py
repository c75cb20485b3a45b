"""Images without labels, however a data set says so, are read as one class."""

import numpy as np
import pytest

from lars_jax.data import Unlabelled, folder_source, load_source, read_batch, to_arrays
from lars_jax.data.source import Source, image_size
from lars_jax.errors import InputError
from tests.data.support import encoded


class Listed:
    """Images whose labels all are -1, as in the unlabelled split of STL-10."""

    name = "listed/unlabelled"
    class_names = ("plane", "bird")

    def __init__(self, count=5):
        random = np.random.default_rng(0)
        self.image = random.integers(0, 256, (count, 6, 6, 3)).astype(np.uint8)

    def __len__(self):
        return len(self.image)

    def __getitem__(self, index):
        return self.image[index], -1


class Batched(Listed):
    """The same, of a source that reads many at once."""

    def __getitems__(self, indices):
        self.read = list(indices)
        return [(self.image[i], -1) for i in indices]


@pytest.mark.parametrize("kind", [Listed, Batched])
def test_images_are_read_exactly_and_every_label_is_the_one_there_is(kind):
    original = kind()
    source: Source = Unlabelled(original)
    arrays = to_arrays(source)
    np.testing.assert_array_equal(arrays.image, original.image)
    assert arrays.label.tolist() == [0] * 5
    assert (source.name, source.class_names) == ("listed/unlabelled", ("image",))
    assert len(source) == 5
    image, label = source[3]
    assert label == 0
    np.testing.assert_array_equal(image, original.image[3])


def test_source_that_reads_many_at_once_is_asked_to():
    original = Batched()
    batch = read_batch(Unlabelled(original), [4, 1])
    np.testing.assert_array_equal(batch.image, original.image[[4, 1]])
    assert original.read == [4, 1]


def test_pictures_are_resized_and_measured_as_with_their_labels(tmp_path):
    place = tmp_path / "train" / "plane"
    place.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)
    (place / "1.jpg").write_bytes(encoded(pixels, "JPEG"))
    labelled = folder_source(tmp_path, "train")
    ours = read_batch(Unlabelled(labelled), [0], resize=20, fit="short_side")
    theirs = read_batch(labelled, [0], resize=20, fit="short_side")
    np.testing.assert_array_equal(ours.image, theirs.image)
    # By its header, though the rest of it is gone.
    (place / "1.jpg").write_bytes(encoded(pixels, "JPEG")[:2000])
    assert image_size(Unlabelled(labelled), 0) == (160, 200)


def test_labels_of_no_class_do_not_matter_where_images_are_resized():
    batch = read_batch(Unlabelled(Listed()), [4, 1], resize=3)
    assert batch.image.shape == (2, 3, 3, 3)
    assert batch.label.tolist() == [0, 0]


def test_labels_that_there_are_make_no_difference():
    labelled = load_source("digits", "test")
    ours, theirs = to_arrays(Unlabelled(labelled)), to_arrays(labelled)
    np.testing.assert_array_equal(ours.image, theirs.image)
    assert set(ours.label.tolist()) == {0} != set(theirs.label.tolist())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data set with an unlabelled split, prepared by TFDS itself as array_record."""
    import tensorflow_datasets as tfds

    class TinyStl(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(6, 6, 3)),
                    "label": tfds.features.ClassLabel(names=["plane", "bird"]),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"unlabelled": self._generate_examples()}

        def _generate_examples(self):
            for number, image in enumerate(Listed().image):
                yield number, {"image": encoded(image), "label": -1}

    root = tmp_path_factory.mktemp("tfds")
    TinyStl(data_dir=root, file_format="array_record").download_and_prepare()
    return root


def test_unlabelled_split_of_a_prepared_data_set_is_read(prepared):
    source = load_source("tiny_stl", "unlabelled", data_dir=prepared)
    arrays = to_arrays(Unlabelled(source))
    assert arrays.label.tolist() == [0] * 5
    found = {image.tobytes() for image in arrays.image}
    assert found == {image.tobytes() for image in Listed().image}


def test_labels_of_no_class_are_refused_where_labels_count(prepared):
    source = load_source("tiny_stl", "unlabelled", data_dir=prepared)
    with pytest.raises(InputError, match="-1"):
        to_arrays(source)
