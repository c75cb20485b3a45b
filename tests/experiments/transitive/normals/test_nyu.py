"""Small archives and files in the official form, and damaged ones."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from experiments.transitive.normals.camera import KINECT, Camera, resized_camera
from experiments.transitive.normals.config import DataConfig
from experiments.transitive.normals.nyu import frame_mask, read_nyu
from experiments.transitive.normals.nyu_mat import open_mat, read_split
from experiments.transitive.normals.targets import load_targets
from lars_jax.errors import InputError
from tests.experiments.transitive.normals.support import archive, encoded


def save(path, content):
    np.savez(path, allow_pickle=False, **content)
    return path


def write_mat(path, images, depths):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["images"], file["depths"] = images, depths
    return path


def in_one_line(caught):
    return "\n" not in str(caught.value)


def test_frames_of_a_folder_are_read_as_they_were_written(tmp_path):
    save(tmp_path / "b.npz", archive(splits=(2, 0), first=20))
    save(tmp_path / "a.npz", archive())
    frames = read_nyu(tmp_path, "test")
    assert len(frames) == 3
    assert frames.index.tolist() == [12, 13, 20]
    assert frames.step == pytest.approx(0.0392, abs=1e-4)
    frame = frames[1]
    assert frame.index == 13
    assert frame.image.shape == (6, 8, 3)
    np.testing.assert_allclose(frame.image, 120, atol=2)
    # The middle of step 53, which is 2.078 to 2.118 m; a value of 0 is unknown.
    assert frame.depth.dtype == np.float32
    assert frame.depth[3, 3] == pytest.approx(53.5 / 25.5)
    assert frame.depth[0, 0] == 0
    with pytest.raises(IndexError):
        frames[3]


def test_the_official_training_frames_are_train_and_val(tmp_path):
    path = save(tmp_path / "a.npz", archive())
    found = {
        split: read_nyu(path, split).index.tolist()
        for split in ("train", "val", "trainval", "test")
    }
    assert found == {
        "train": [10],
        "val": [11],
        "trainval": [10, 11],
        "test": [12, 13],
    }


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"split": None}, "has no split"),
        ({"index": np.arange(3)}, "8 pictures, 3 indices, 4 splits"),
        ({"ends": np.arange(8)[::-1]}, "ends that do not rise"),
        ({"ends": np.arange(1, 9)}, "bytes that end at 8"),
        ({"ends": np.arange(1.0, 9.0)}, "ends that are no row of whole numbers"),
        ({"split": np.array([0, 1, 2, 3])}, "split 0 to 3 in place of 0 to 2"),
        ({"data": np.zeros(9)}, "no row of bytes"),
        ({"split": np.array([0, 0, 0, 0])}, "has none of test"),
        ({"index": np.array([1, 2, 7, 7])}, "has frame 7 twice"),
    ],
)
def test_other_archives_are_refused_in_one_line(change, rule, tmp_path):
    content = archive() | change
    content = {name: one for name, one in content.items() if one is not None}
    with pytest.raises(InputError, match=rule) as caught:
        read_nyu(save(tmp_path / "a.npz", content), "test")
    assert in_one_line(caught)


@pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04 cut off"])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="no archive of arrays|could not be read"):
        read_nyu(tmp_path, "test")


def test_wrong_places_and_splits_are_refused(tmp_path):
    with pytest.raises(InputError, match="a split is one of train, val"):
        read_nyu(tmp_path, "training")
    with pytest.raises(InputError, match=r"holds .npz archives; .* has none"):
        read_nyu(tmp_path, "test")
    with pytest.raises(InputError, match="could not be read"):
        read_nyu(tmp_path / "nowhere.npz", "test")


def test_a_picture_that_cannot_be_read_is_named_when_it_is_read(tmp_path):
    content = archive()
    content["data"] = content["data"].copy()
    content["data"][content["ends"][3] : content["ends"][4]] = 0
    frames = read_nyu(save(tmp_path / "a.npz", content), "test")
    assert frames[1].index == 13
    with pytest.raises(InputError, match="frame 2 is not") as caught:
        frames[0]
    assert in_one_line(caught)


def test_a_photograph_of_another_size_than_its_depth_is_refused(tmp_path):
    files = [
        encoded(np.zeros((size, 8, 3), np.uint8), kind)
        for size, kind in ((6, "JPEG"), (4, "WEBP"))
    ]
    content = archive((2,)) | {
        "data": np.concatenate(files),
        "ends": np.cumsum([len(file) for file in files]),
    }
    frames = read_nyu(save(tmp_path / "a.npz", content), "test")
    with pytest.raises(InputError, match=r"got \[6, 8\] and \[4, 8\]"):
        frames[0]


def test_the_official_file_is_read_with_its_axes_reversed(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 6), np.uint8)
    depths = np.linspace(0.5, 9, 3 * 8 * 6, dtype=np.float32).reshape(3, 8, 6)
    depths[2, 1, 4] = np.nan
    path = write_mat(tmp_path / "some.mat", images, depths)
    frames = open_mat(path, [2, 0])
    assert len(frames) == 2
    assert frames.step == 0
    frame = frames[0]
    assert frame.index == 2
    assert frame.image.shape == (6, 8, 3)
    assert frame.image[5, 7].tolist() == images[2, :, 7, 5].tolist()
    assert frame.depth[5, 7] == depths[2, 7, 5]
    assert frame.depth[4, 1] == 0
    assert len(open_mat(path)) == 3
    for index in ([3], [-1], [], [0.5]):
        with pytest.raises(InputError, match="correct the list of the split"):
            open_mat(path, np.array(index))


@pytest.mark.parametrize(
    ("images", "depths", "rule"),
    [
        (np.zeros((2, 3, 8, 6)), np.zeros((2, 8, 6)), "has images"),
        (np.zeros((2, 8, 6), np.uint8), np.zeros((2, 8, 6)), "has images"),
        (np.zeros((2, 3, 8, 6), np.uint8), np.zeros((2, 6, 8)), "has depths"),
    ],
)
def test_other_official_files_are_refused(images, depths, rule, tmp_path):
    path = write_mat(tmp_path / "some.mat", images, depths)
    with pytest.raises(InputError, match=rule) as caught:
        open_mat(path)
    assert in_one_line(caught)


def test_what_is_no_hdf5_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "some.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(InputError, match="has no HDF5"):
        open_mat(tmp_path / "some.mat")
    with h5py.File(tmp_path / "empty.mat", "w"):
        pass
    with pytest.raises(InputError, match="has no images, depths"):
        open_mat(tmp_path / "empty.mat")
    with pytest.raises(InputError, match="could not be read"):
        open_mat(tmp_path / "nowhere.mat")


def test_a_missing_library_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[transfer\]'"):
        open_mat(tmp_path / "some.mat")


def test_splits_are_read_from_two_kinds_of_file(tmp_path):
    from scipy.io import savemat

    lists = {"trainNdxs": [[3], [1]], "testNdxs": [[2]]}
    savemat(tmp_path / "splits.mat", lists)
    lists = {"trainval": np.array([2, 0]), "test": np.array([1])}
    save(tmp_path / "splits.npz", lists)
    for name in ("splits.mat", "splits.npz"):
        # Of the same frames as in archives, by the same word.
        assert read_split(tmp_path / name, "trainval").tolist() == [2, 0]
        assert read_split(tmp_path / name, "test").tolist() == [1]
        with pytest.raises(InputError, match="none of train ") as caught:
            read_split(tmp_path / name, "train")
        assert in_one_line(caught)
        assert "(it has trainval, test): set --train-split" in str(caught.value)


@pytest.mark.parametrize("content", [[], [1, 1], ["one"], [1.5]])
def test_other_lists_are_refused(content, tmp_path):
    save(tmp_path / "splits.npz", {"train": np.array(content)})
    with pytest.raises(InputError, match="each once") as caught:
        read_split(tmp_path / "splits.npz", "train")
    assert in_one_line(caught)


def test_official_files_are_read_by_the_default_splits(tmp_path, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setenv("LARS_JAX_CACHE", str(tmp_path))
    images = np.stack([np.full((3, 8, 6), 100 + k, np.uint8) for k in range(3)])
    mat = write_mat(tmp_path / "some.mat", images, np.ones((3, 8, 6), np.float32))
    lists = {"trainNdxs": [[3], [1]], "testNdxs": [[2]]}
    savemat(tmp_path / "splits.mat", lists)
    config = DataConfig(str(mat), str(tmp_path / "splits.mat"), height=6, length=8)
    train, test = load_targets(config)
    assert train.image[:, 0, 0, 0].tolist() == [102, 100]
    assert test.image[:, 0, 0, 0].tolist() == [101]


def test_file_that_cannot_name_two_splits_is_refused(tmp_path):
    (tmp_path / "train.txt").write_text("2\n0\n")
    with pytest.raises(InputError, match="set --splits to one of these") as caught:
        read_split(tmp_path / "train.txt", "train")
    assert in_one_line(caught)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="each once"):
        read_split(tmp_path / "cut.npz", "train")


def test_frame_to_train_on_and_to_test_by_is_refused(tmp_path):
    path = save(tmp_path / "a.npz", archive())
    config = DataConfig(str(path), test_split="val", height=6, length=8)
    with pytest.raises(InputError, match=r"share 1, such as frame 11: set") as caught:
        load_targets(config)
    assert in_one_line(caught)
    save(tmp_path / "splits.npz", {"train": np.arange(2), "test": np.arange(1, 3)})
    images = np.zeros((3, 3, 8, 6), np.uint8)
    mat = write_mat(tmp_path / "some.mat", images, np.ones((3, 8, 6), np.float32))
    splits = str(tmp_path / "splits.npz")
    config = replace(config, frames=str(mat), splits=splits, train_split="train")
    with pytest.raises(InputError, match=r"share 1, such as frame 1: set"):
        load_targets(replace(config, test_split="test"))


def test_a_frame_of_another_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LARS_JAX_CACHE", str(tmp_path / "cache"))
    files = [
        encoded(np.full((size, 8, 3), 50, np.uint8), kind)
        for size in (6, 4, 6)
        for kind in ("JPEG", "WEBP")
    ]
    content = archive((0, 0, 2)) | {
        "data": np.concatenate(files),
        "ends": np.cumsum([len(file) for file in files]),
    }
    path = save(tmp_path / "a.npz", content)
    config = DataConfig(str(path), train_split="train", height=3, length=8)
    with pytest.raises(InputError, match=r"every frame's; got 3 of 4 in") as caught:
        load_targets(config)
    assert in_one_line(caught)


def test_a_camera_grows_with_its_image():
    camera = resized_camera(KINECT, 480, 640)
    assert camera == Camera(518.86, 519.46, 325.58, 253.74, 480, 640)
    with pytest.raises(InputError, match="above 0"):
        resized_camera(KINECT, 0, 640)


def test_the_mask_is_the_part_that_is_evaluated():
    mask = frame_mask(480, 640)
    assert mask[44:471, 40:601].all()
    assert mask.sum() == 427 * 561
    half = frame_mask(240, 320)
    # A pixel of half the size counts where all four of its pixels do.
    assert (half == mask.reshape(240, 2, 320, 2).all(axis=(1, 3))).all()


@pytest.mark.skipif("NYUV2" not in os.environ, reason="NYUV2 names no folder")
def test_nyuv2_has_795_frames_to_train_on_and_654_to_test_on():
    sizes = {name: len(read_nyu(os.environ["NYUV2"], name)) for name in ("val", "test")}
    assert sizes == {"val": 414, "test": 654}
    frames = read_nyu(os.environ["NYUV2"], "trainval")
    assert len(frames) == 795
    frame = frames[400]
    assert frame.image.shape == (240, 320, 3)
    assert 0.7 < frame.depth.min() < frame.depth.max() < 10
