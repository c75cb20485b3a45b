import numpy as np
import pytest

from lars_jax.data import folder_source, load_source, to_arrays
from lars_jax.errors import InputError
from tests.data.support import encoded, write_digits


def test_folder_gives_back_the_images_and_labels_written(tmp_path):
    original = write_digits(tmp_path, count=30)
    source = load_source(f"folder:{tmp_path}", "train")
    assert source.class_names == original.class_names
    assert len(source) == 30
    files = folder_source(tmp_path, "train").files
    for index, file in enumerate(files):
        image, label = source[index]
        expected, digit = original[int(file.stem)]
        np.testing.assert_array_equal(image, np.repeat(expected, 3, axis=-1))
        assert label == digit


def test_files_are_in_order_of_class_and_name(tmp_path):
    write_digits(tmp_path, count=30)
    source = folder_source(tmp_path, "train")
    assert list(source.files) == sorted(source.files)
    assert list(source.labels) == sorted(source.labels)


def test_class_that_a_split_lacks_does_not_shift_the_labels(tmp_path):
    write_digits(tmp_path, "train", 30)
    write_digits(tmp_path, "test", 1)
    source = folder_source(tmp_path, "test")
    (image, label) = source[0]
    assert source.class_names == tuple("0123456789")
    assert source.class_names[label] == source.files[0].parent.name


def test_other_and_hidden_files_are_passed_over(tmp_path):
    write_digits(tmp_path, count=12)
    (tmp_path / "train" / "0" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / "0" / "._0000.png").write_bytes(b"left by a desktop")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "empty").mkdir()
    source = folder_source(tmp_path, "train")
    assert len(source) == 12
    assert not {".cache", "empty"} & set(source.class_names)


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.bmp", "a.webp", "a.ppm"])
def test_common_file_types_are_read(tmp_path, name):
    (tmp_path / "train" / "one").mkdir(parents=True)
    kind = name[2:].upper().replace("JPG", "JPEG")
    pixels = np.full((8, 8, 3), 200, np.uint8)
    data = encoded(pixels, kind)
    (tmp_path / "train" / "one" / name).write_bytes(data)
    image, _ = folder_source(tmp_path, "train")[0]
    assert np.abs(image.astype(int) - 200).max() <= 2


def test_unreadable_image_is_refused_with_its_path(tmp_path):
    write_digits(tmp_path, count=12)
    bad = tmp_path / "train" / "3" / "zzz.png"
    bad.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"3/zzz\.png is not"):
        to_arrays(folder_source(tmp_path, "train"))


def test_file_that_vanished_is_refused_with_its_path(tmp_path):
    write_digits(tmp_path, count=1)
    source = folder_source(tmp_path, "train")
    source.files[0].unlink()
    with pytest.raises(InputError, match=r"0000\.png is not \(No such file"):
        source[0]


def test_missing_split_is_refused_with_those_that_exist(tmp_path):
    write_digits(tmp_path, "train", 1)
    with pytest.raises(InputError, match=r"val is no folder \(.* has train\)"):
        folder_source(tmp_path, "val")


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="has no images"):
        folder_source(tmp_path, "train")


def test_images_of_unequal_size_are_refused_unless_resized(tmp_path):
    write_digits(tmp_path, count=3)
    big = encoded(np.zeros((9, 8), np.uint8))
    (tmp_path / "train" / "3" / "zzz.png").write_bytes(big)
    source = folder_source(tmp_path, "train")
    with pytest.raises(InputError, match="has 8x8x3 and 9x8x3; set --resize"):
        to_arrays(source)
    assert to_arrays(source, resize=8).image.shape == (4, 8, 8, 3)
