import contextlib
import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lars_jax.data import Subset, folder_source, load_source, read_batch, to_arrays
from lars_jax.data.decode import decode_image, resize_image
from lars_jax.data.folder import SUFFIXES
from lars_jax.errors import InputError
from tests.data.support import encoded, write_digits

PICTURE = encoded(np.zeros((2, 2, 3), np.uint8))


def put(file):
    """Write a picture, and the folders that it is in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(PICTURE)


def refused(monkeypatch, name):
    """Let the system refuse to list a folder; as root nothing else would."""
    scandir = os.scandir

    def scan(path):
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)


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
    source = folder_source(tmp_path, "test", beside=["train", "test"])
    (image, label) = source[0]
    assert source.class_names == tuple("0123456789")
    assert source.class_names[label] == source.files[0].parent.name
    assert source.notes[0].startswith(f"folder:{tmp_path}/test: no images of ")
    assert source.notes[0].endswith(" and 4 more")


def test_classes_of_folders_that_are_not_in_use_do_not_count(tmp_path):
    write_digits(tmp_path, "train", 30)
    put(tmp_path / "older" / "cat" / "a.png")
    assert folder_source(tmp_path, "train").class_names == tuple("0123456789")


def test_folder_that_no_split_needs_may_be_unreadable(tmp_path, monkeypatch):
    write_digits(tmp_path, "train", 3)
    refused(monkeypatch, "lost+found")
    (tmp_path / "lost+found").mkdir()
    assert len(folder_source(tmp_path, "train")) == 3


def test_unreadable_class_is_refused_as_read(tmp_path, monkeypatch):
    write_digits(tmp_path, "train", 3)
    refused(monkeypatch, "secret")
    (tmp_path / "train" / "secret").mkdir()
    with pytest.raises(InputError, match=r"train/secret is not \(Permission denied\)"):
        folder_source(tmp_path, "train")


def test_pictures_are_found_at_any_depth(tmp_path):
    for name in ("b.png", "a/x/c.png", "a.png", "a/b.png"):
        put(tmp_path / "train" / "cat" / name)
    source = folder_source(tmp_path, "train")
    assert source.names == (
        *("cat/a/b.png", "cat/a/x/c.png", "cat/a.png", "cat/b.png"),
    )


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    put(tmp_path / "train" / composed / "a.png")
    put(tmp_path / "train" / "tea" / "a.png")
    put(tmp_path / "test" / apart / "a.png")
    train = folder_source(tmp_path, "train", beside=["test"])
    test = folder_source(tmp_path, "test", beside=["train"])
    assert train.class_names == test.class_names == (composed, "tea")
    assert test.labels == (0,)
    put(tmp_path / "train" / apart / "a.png")
    with pytest.raises(InputError, match="more than the Unicode form"):
        folder_source(tmp_path, "train")


@pytest.mark.parametrize("name", ["a\nb", "\udcff", "bell\a"])
def test_class_whose_name_cannot_be_printed_is_refused(tmp_path, name):
    put(tmp_path / "train" / name / "a.png")
    with pytest.raises(InputError, match="must be printable Unicode"):
        folder_source(tmp_path, "train")


def test_link_to_a_folder_around_it_is_passed_over(tmp_path):
    put(tmp_path / "train" / "cat" / "a.png")
    (tmp_path / "train" / "cat" / "again").symlink_to(tmp_path / "train" / "cat")
    put(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    source = folder_source(tmp_path, "train")
    assert source.names == ("cat/a.png", "cat/more/b.png")
    assert source.passed_over["link to a folder that it is in"] == 1


def test_pipe_is_not_waited_for(tmp_path):
    put(tmp_path / "train" / "cat" / "a.png")
    os.mkfifo(tmp_path / "train" / "cat" / "b.png")
    (tmp_path / "train" / "cat" / "c.png").symlink_to("nowhere")
    source = folder_source(tmp_path, "train")
    assert source.names == ("cat/a.png",)
    assert source.passed_over["broken link or no file"] == 2


def test_what_was_passed_over_is_counted_by_reason(tmp_path):
    put(tmp_path / "train" / "cat" / "a.png")
    for name in ("train/list.txt", "train/cat/b.HEIC", "train/cat/c.heic"):
        put(tmp_path / name)
    for name in ("train/cat/README", "train/cat/.d.png", "train/.git/e.png"):
        put(tmp_path / name)
    (tmp_path / "train" / "dog").mkdir()
    (line,) = folder_source(tmp_path, "train").notes
    assert line == (
        f"folder:{tmp_path}/train: passed over: 2 .heic, 1 class folder without "
        "images, 1 file outside class folders, 2 hidden, 1 without a suffix"
    )


NAMES = st.text("aB.\u00e9\u0301 ", min_size=1, max_size=3) | st.sampled_from(
    ["a.png", "b.JPG", "c.txt", "cat", ".hidden", "x.gif"]
)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.booleans(), max_size=8
)


@settings(max_examples=200, deadline=None)
@given(tree=TREES)
def test_any_tree_is_read_as_said_or_refused_in_one_line(tree):
    with tempfile.TemporaryDirectory() as place:
        root, expected = Path(place), []
        for name, is_folder in tree.items():
            path = root / "train" / name
            with contextlib.suppress(OSError):
                if is_folder:
                    path.mkdir(parents=True)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(PICTURE)
        for file in (root / "train").rglob("*"):
            parts = file.relative_to(root / "train").parts
            hidden = any(part.startswith(".") for part in parts)
            suffix = os.path.splitext(file.name)[1].lower()
            if file.is_file() and len(parts) > 1 and not hidden and suffix in SUFFIXES:
                expected.append("/".join(parts))
        try:
            source = folder_source(root, "train")
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
            composed = [unicodedata.normalize("NFC", name) for name in expected]
            assert not expected or len(set(composed)) < len(composed)
        else:
            assert sorted(source.names) == sorted(expected)
            for name, label in zip(source.names, source.labels, strict=True):
                top = unicodedata.normalize("NFC", name.split("/")[0])
                assert source.class_names[label] == top


def test_other_and_hidden_files_are_passed_over(tmp_path):
    write_digits(tmp_path, count=12)
    (tmp_path / "train" / "0" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / "0" / "._0000.png").write_bytes(b"left by a desktop")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "empty").mkdir()
    source = folder_source(tmp_path, "train")
    assert len(source) == 12
    assert not {".cache", "empty"} & set(source.class_names)


def test_every_suffix_of_a_picture_that_pillow_reads_is_read():
    Image.init()
    known = {
        suffix
        for suffix, format in Image.registered_extensions().items()
        if format in Image.OPEN
    }
    # Games', editors', printers' and scientists' files, and films.
    others = {"BLP", "BUFR", "CUR", "DCX", "DDS", "EPS", "FITS", "FLI", "FTEX", "GBR"}
    others |= {"GRIB", "HDF5", "ICNS", "IM", "IPTC", "MPEG", "MSP", "PCD", "PIXAR"}
    others |= {"PSD", "SGI", "SUN", "WMF", "XBM", "XPM"}
    formats = Image.registered_extensions()
    others = {suffix for suffix in known if formats[suffix] in others}
    others |= {".avifs", ".pfm", ".icb", ".vda", ".vst"}
    assert known - others == SUFFIXES


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
    with pytest.raises(InputError, match=r"0000\.png could not be read \(No such file"):
        source[0]


def test_missing_split_is_refused_with_those_that_exist(tmp_path):
    write_digits(tmp_path, "train", 1)
    with pytest.raises(InputError, match=r"no folder .*/val \(.* has train\)"):
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


@pytest.mark.parametrize("name", [".hid", "...", "..cat", ". cat"])
def test_hidden_class_is_said_to_be_passed_over(tmp_path, name):
    put(tmp_path / "train" / "dog" / "a.png")
    put(tmp_path / "train" / name / "a.png")
    source = folder_source(tmp_path, "train")
    assert source.class_names == ("dog",)
    assert source.notes == (f"folder:{tmp_path}/train: passed over: 1 hidden",)


@pytest.mark.parametrize("split", ["", ".", ".."])
def test_split_is_a_folder_of_its_own(tmp_path, split):
    put(tmp_path / "data" / "train" / "dog" / "a.png")
    with pytest.raises(InputError, match="correct the path or the split"):
        folder_source(tmp_path / "data", split)


@pytest.mark.parametrize("fit", ["warp", "short_side"])
def test_images_are_decoded_at_the_size_that_is_asked_for(tmp_path, fit):
    random = np.random.default_rng(0)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    for number in range(3):
        small = random.integers(0, 255, (3, 4, 3)).astype(np.uint8)
        image = Image.fromarray(small).resize((96 + 8 * number, 64))
        image.save(tmp_path / "train" / "cat" / f"{number}.jpg", quality=95)
    source = folder_source(tmp_path, "train")
    kept = Subset(source, np.array([2, 1], np.int32))
    found = read_batch(kept, [0, 1], resize=20, fit=fit).image
    for image, place in zip(found, (2, 1), strict=True):
        data = source.files[place].read_bytes()
        expected = decode_image(data, channels=3, where="it", size=20, fit=fit)
        np.testing.assert_array_equal(image, expected)
        whole = resize_image(source[place][0], 20, fit=fit)
        assert (image != whole).any()
        assert np.abs(image - whole.astype(float)).max() < 12
