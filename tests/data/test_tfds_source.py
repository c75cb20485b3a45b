import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lars_jax.data import (
    find_prepared,
    load_source,
    read_batch,
    tfds_source,
    to_arrays,
)
from lars_jax.errors import InputError
from tests.data.support import prepared_directory, write_digits


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small data set of real digits, prepared by TFDS itself as array_record."""
    import tensorflow_datasets as tfds

    files = tmp_path_factory.mktemp("files")
    original = write_digits(files, count=20)
    image = tfds.features.Image(shape=(8, 8, 1))
    label = tfds.features.ClassLabel(names=original.class_names)

    class TinyDigits(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.0")
        FEATURES = {"image": image, "label": label}

        def _info(self):
            features = tfds.features.FeaturesDict(self.FEATURES)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for file in sorted(files.glob("train/*/*.png")):
                values = {"image": file, "label": file.parent.name}
                yield file.stem, {name: values[name] for name in self.FEATURES}

    class Unlabelled(TinyDigits):
        FEATURES = {"image": image}

    root = tmp_path_factory.mktemp("tfds")
    for builder in (TinyDigits, Unlabelled):
        builder(data_dir=root, file_format="array_record").download_and_prepare()
    return root, original


def test_prepared_images_and_labels_are_read_exactly(prepared):
    root, original = prepared
    source = load_source("tiny_digits", "train", data_dir=root)
    assert len(source) == 20
    assert source.name == "tiny_digits/1.2.0/train"
    assert source.class_names == original.class_names
    arrays = to_arrays(source)
    ours = {(arrays.image[i].tobytes(), arrays.label[i]) for i in range(20)}
    written = {(original[i][0].tobytes(), original[i][1]) for i in range(20)}
    assert arrays.image.shape == (20, 8, 8, 1)
    assert ours == written


def test_one_example_equals_that_of_a_batch(prepared):
    source = load_source("tiny_digits", "train", data_dir=prepared[0])
    batch = read_batch(source, [4, 11])
    image, label = source[11]
    np.testing.assert_array_equal(batch.image[1], image)
    assert batch.label[1] == label
    assert type(label) is int


def test_part_of_a_split_is_read(prepared):
    source = load_source("tiny_digits:1.2.0", "train[:25%]", data_dir=prepared[0])
    assert len(source) == 5


@pytest.mark.parametrize("split", ["test", "train[:x%]"])
def test_unknown_split_is_refused_with_those_that_exist(prepared, split):
    with pytest.raises(InputError, match="has the splits train, got"):
        load_source("tiny_digits", split, data_dir=prepared[0])


def test_empty_part_of_a_split_is_refused(prepared):
    with pytest.raises(InputError, match="needs examples"):
        load_source("tiny_digits", "train[:0]", data_dir=prepared[0])


def test_data_without_labels_are_refused(prepared):
    with pytest.raises(InputError, match="one class label each, unlabelled has image;"):
        load_source("unlabelled", "train", data_dir=prepared[0])


def remove(shard, info):
    shard.unlink()


def cut_short(shard, info):
    shard.write_bytes(shard.read_bytes()[:200])


def promise_more(shard, info):
    info.write_text(info.read_text().replace('"20"', '"25"'))


@pytest.mark.parametrize("damage", [remove, cut_short, promise_more])
def test_incomplete_data_are_refused(prepared, tmp_path, damage):
    home = tmp_path / "tiny_digits" / "1.2.0"
    shutil.copytree(prepared[0] / "tiny_digits" / "1.2.0", home)
    damage(next(home.glob("*.array_record-*")), home / "dataset_info.json")
    with pytest.raises(InputError, match=r"has 2[05] examples, .* holds (0|20); copy"):
        load_source("tiny_digits", "train", data_dir=tmp_path)


def test_data_directory_comes_from_the_environment(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[0]))
    assert len(load_source("tiny_digits", "train")) == 20


def test_missing_data_set_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(InputError) as caught:
        load_source("cifar10", "train", data_dir=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "cifar10") in message
    assert "tfds build cifar10 --file_format=array_record" in message
    assert "TFDS_DATA_DIR" in message
    assert "`digits` needs no download" in message
    assert "\n" not in message


def test_missing_version_is_refused_with_those_that_exist(prepared):
    with pytest.raises(InputError, match=r"tiny_digits has 1\.2\.0; run"):
        load_source("tiny_digits:9.9.9", "train", data_dir=prepared[0])


@pytest.mark.parametrize("name", ["", "two words", "../cifar10", "cifar10:latest"])
def test_malformed_name_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="is digits, folder:PATH or a TFDS name"):
        load_source(name, "train", data_dir=tmp_path)


def prepare_info(folder, text='{"fileFormat": "array_record"}'):
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(text)
    return folder


def test_newest_version_is_compared_by_number(tmp_path):
    prepare_info(tmp_path / "a" / "3.9.0")
    newest = prepare_info(tmp_path / "a" / "3.10.0")
    (tmp_path / "a" / "4.0.0").mkdir()
    assert find_prepared("a", tmp_path) == newest


def test_sole_config_is_found_and_several_are_refused(tmp_path):
    only = prepare_info(tmp_path / "a" / "small" / "1.0.0")
    assert find_prepared("a", tmp_path) == only
    other = prepare_info(tmp_path / "a" / "large" / "1.0.0")
    assert find_prepared("a/large:1.0.0", tmp_path) == other
    with pytest.raises(InputError, match=r"several configs \(large, small\)"):
        find_prepared("a", tmp_path)


@pytest.mark.parametrize("info", [{"fileFormat": "tfrecord"}, {}])
def test_records_that_need_tensorflow_are_refused(tmp_path, info):
    prepare_info(tmp_path / "a" / "1.0.0", json.dumps(info))
    with pytest.raises(InputError, match="takes array_record files, .* has tfrecord"):
        find_prepared("a", tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_description_is_refused(tmp_path, text):
    prepare_info(tmp_path / "a" / "1.0.0", text)
    with pytest.raises(InputError, match="readable dataset_info.json"):
        find_prepared("a", tmp_path)


def test_cifar10_test_split_has_its_published_classes_and_counts():
    root = prepared_directory("cifar10")
    source = load_source("cifar10", "test", data_dir=root)
    arrays = to_arrays(source)
    assert arrays.image.shape == (10000, 32, 32, 3)
    assert np.bincount(arrays.label).tolist() == [1000] * 10
    assert source.class_names[0] == "airplane"
    assert source.class_names[9] == "truck"


DESCRIPTIONS = {
    "no features": ("features.json", None),
    "features of nothing": ("features.json", "{"),
    "no version": ("dataset_info.json", '{"fileFormat": "array_record"}'),
}


@pytest.mark.parametrize(("name", "text"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_incomplete_description_is_refused(prepared, tmp_path, name, text):
    root = shutil.copytree(prepared[0], tmp_path / "copy")
    (path,) = root.glob(f"tiny_digits/*/{name}")
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match="prepare it again") as caught:
        load_source("tiny_digits", "train", data_dir=root)
    assert "\n" not in str(caught.value)


def test_damaged_records_are_named_wherever_the_damage_is(prepared, tmp_path):
    root = shutil.copytree(prepared[0], tmp_path / "copy")
    (shard,) = root.glob("tiny_digits/*/*array_record*")
    whole, random = shard.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(60):
        content = bytearray(whole)
        content[random.integers(len(whole) // 8)] ^= 1 << random.integers(8)
        shard.write_bytes(content)
        try:
            to_arrays(load_source("tiny_digits", "train", data_dir=root))
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert "\n" not in "".join(refused)


def test_size_of_an_image_is_known_without_reading_it(prepared):
    source = tfds_source("tiny_digits", "train", data_dir=prepared[0])
    assert source.image_size(3) == (8, 8)
    assert replace(source, size=None).image_size(3) == (8, 8)
