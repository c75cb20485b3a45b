"""Small files in the form of Fashion-MNIST, prepared, read again, and damaged ones."""

import gzip
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from experiments.lars import prepare_fashion_mnist
from experiments.lars.prepare_fashion_mnist import FILES, prepare, read_splits
from lars_jax.data import find_prepared, load_source, to_arrays
from lars_jax.errors import InputError

SIZES = {"train": 30, "test": 12}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"a network is asked for: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def save(path, array):
    """Write an array of bytes as a gzipped IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def files(tmp_path):
    """Return a folder of the four files, noise with labels in turn."""
    random = np.random.default_rng(0)
    folder = tmp_path / "files"
    folder.mkdir()
    for split, start in FILES.items():
        image = random.integers(0, 256, (SIZES[split], 28, 28), np.uint8)
        save(folder / f"{start}-images-idx3-ubyte.gz", image)
        label = np.arange(SIZES[split], dtype=np.uint8) % 10
        save(folder / f"{start}-labels-idx1-ubyte.gz", label)
    return folder


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_prepared_is_read_exactly(files, tmp_path):
    assert prepare(tmp_path / "data", files) == SIZES
    for split, (image, label) in read_splits(files).items():
        source = load_source("fashion_mnist", split, data_dir=tmp_path / "data")
        assert source.class_names[0] == "T-shirt/top"
        assert source.class_names[6:] == ("Shirt", "Sneaker", "Bag", "Ankle boot")
        found = to_arrays(source)
        assert found.image.shape == (SIZES[split], 28, 28, 1)
        ours = {(i.tobytes(), int(k)) for i, k in zip(image, label, strict=True)}
        pairs = zip(found.image, found.label, strict=True)
        assert {(i.tobytes(), int(k)) for i, k in pairs} == ours
    assert "tensorflow" not in sys.modules


def test_tfds_knows_it_by_its_name(files, tmp_path):
    import tensorflow_datasets as tfds

    prepare(tmp_path, files)
    source: Any = tfds.data_source("fashion_mnist", split="test", data_dir=tmp_path)
    assert len(source) == SIZES["test"]
    assert source[0]["image"].shape == (28, 28, 1)


def test_the_same_files_become_the_same_bytes(files, tmp_path):
    for name in ("first", "second"):
        prepare(tmp_path / name, files)
    found = contents(tmp_path / "first")
    assert len(found) == 5
    assert contents(tmp_path / "second") == found
    module = b'"moduleName": "tensorflow_datasets.image_classification.mnist"'
    assert any(module in content for content in found.values())


def test_what_is_there_is_left_alone_and_needs_no_files(files, tmp_path):
    prepare(tmp_path / "data", files)
    before = contents(tmp_path / "data")
    assert prepare(tmp_path / "data", tmp_path / "nowhere") == SIZES
    assert contents(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (KeyboardInterrupt(), "^$"),
        (RuntimeError("no\nspace"), r"\(.*no space\): free some space"),
        (OSError(28, "full"), r"written \(full\): free some space"),
    ],
    ids=["interrupt", "writer", "system"],
)
def test_what_ends_early_leaves_nothing(error, rule, files, tmp_path, monkeypatch):
    def examples(image, label):
        yield 0, {"image": b"some", "label": 3}
        raise error

    monkeypatch.setattr(prepare_fashion_mnist, "_examples", examples)
    with pytest.raises((KeyboardInterrupt, InputError), match=rule):
        prepare(tmp_path / "data", files)
    assert contents(tmp_path / "data") == {}
    with pytest.raises(InputError, match="is not prepared"):
        find_prepared("fashion_mnist", tmp_path / "data")


def test_what_a_kill_leaves_does_not_count(files, tmp_path):
    prepare(tmp_path, files)
    whole = tmp_path / "fashion_mnist" / "3.0.1"
    # As TFDS names it until it is whole.
    whole.rename(whole.with_name("incomplete.ABC123_3.0.1"))
    with pytest.raises(InputError, match="is not prepared"):
        find_prepared("fashion_mnist", tmp_path)
    assert prepare(tmp_path, files) == SIZES
    assert whole.exists()


def test_damage_to_what_is_there_is_refused(files, tmp_path):
    prepare(tmp_path, files)
    next(tmp_path.rglob("*test.array_record-*")).unlink()
    with pytest.raises(InputError, match="has 12 examples, .* holds 0"):
        prepare(tmp_path, files)


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        (IMAGES, None, f"has no {IMAGES}: install Debian's package"),
        (LABELS, b"", "begins with 00000801 .* with -:"),
        (LABELS, b"some text", "must be a whole gzip file"),
        (LABELS, gzip.compress(bytes(99))[:-9], "must be a whole gzip file"),
        (LABELS, gzip.compress(bytes(99))[:12] + b"!" * 20, "a whole gzip file"),
        (LABELS, gzip.compress(bytes([0, 0, 8, 1])), "begins with 00000801"),
        (LABELS, gzip.compress(bytes([0, 0, 9, 1] + [0] * 9)), "begins with 00000801"),
        (LABELS, gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 1])), r"\[3\] holds 3"),
        (LABELS, np.zeros((3, 28, 28), np.uint8), "with 0000080300000003:"),
        (LABELS, np.zeros(11, np.uint8), "has 11 for 12 images"),
        (LABELS, np.full(12, 10, np.uint8), "below 10; .* has 10"),
        (IMAGES, np.zeros((30, 32, 28), np.uint8), r"has \[30, 32, 28\]"),
        (IMAGES, np.zeros((0, 28, 28), np.uint8), r"has \[0, 28, 28\]"),
    ],
    ids=[
        *("missing", "empty", "text", "cut", "garbled", "header", "type", "short"),
        *("images", "fewer", "eleventh", "wide", "none"),
    ],
)
def test_other_files_are_refused_in_one_line(name, content, rule, files, tmp_path):
    if isinstance(content, np.ndarray):
        save(files / name, content)
    elif content is None:
        (files / name).unlink()
    else:
        (files / name).write_bytes(content)
    with pytest.raises(InputError, match=rule) as caught:
        prepare(tmp_path / "data", files)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_a_folder_is_refused(files, tmp_path):
    (files / LABELS).unlink()
    (files / LABELS).mkdir()
    with pytest.raises(InputError, match=f"{LABELS} could not be read"):
        prepare(tmp_path / "data", files)


def test_a_place_that_is_a_file_is_refused(files, tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(InputError, match="data could not be written"):
        prepare(tmp_path / "data", files)


def test_a_folder_without_the_files_is_a_line(tmp_path):
    command = [sys.executable, "-m", "experiments.lars.prepare_fashion_mnist"]
    found = subprocess.run(
        [*command, tmp_path / "data", "--folder", tmp_path],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: Fashion-MNIST is train-images-idx3-ubyte.gz")
    assert found.stderr.count("\n") == 1
