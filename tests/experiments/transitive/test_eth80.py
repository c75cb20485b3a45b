"""A small file in the form of ETH-80, damaged ones, turns; and gradients of images."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from experiments.transitive import pack_eth80
from experiments.transitive.eth80 import Eth80, read_eth80, turned
from experiments.transitive.hog import hog
from experiments.transitive.pack_eth80 import main, pack
from experiments.transitive.probes import hold_out, neighbour_accuracy, views_apart
from experiments.transitive.video import opencv
from lars_jax.errors import InputError

RING = np.round(np.arange(16) * 22.5).astype(np.int32)


def encoded(colour, size=16):
    file = io.BytesIO()
    Image.new("RGB", (size, size), tuple(colour)).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


def arrays(count=6):
    """Return the arrays of a file: two categories, of which each image is a colour."""
    files = [encoded((40 * i, 20, 200 - 30 * i)) for i in range(count)]
    return {
        "data": np.concatenate(files),
        "ends": np.cumsum([len(file) for file in files]),
        "label": np.arange(count) // 3,
        "object": np.arange(count) % 3,
        "elevation": np.full(count, 90),
        "azimuth": np.arange(count) * 30,
        "categories": np.array(["cup", "cow"]),
    }


def save(path, content):
    np.savez(path, allow_pickle=False, **content)


def ring(things=1):
    """Return the sixteen views of some things, and the one from above of each."""
    azimuth = np.tile(np.r_[RING, 0], things)
    elevation = np.tile(np.r_[np.full(16, 90), 0], things)
    thing = np.repeat(np.arange(things), 17)
    images = np.zeros((17 * things, 1, 1, 3), np.uint8)
    return Eth80(images, thing, thing, elevation, azimuth, ("cup",))


def test_photographs_are_read_as_they_were_written(tmp_path):
    save(tmp_path / "some.npz", arrays())
    found = read_eth80(tmp_path / "some.npz")
    assert found.images.shape == (6, 16, 16, 3)
    np.testing.assert_allclose(found.images[4, 8, 8], [160, 20, 80], atol=4)
    assert found.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.thing.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.categories == ("cup", "cow")
    some = found.take(found.label == 1)
    assert some.azimuth.tolist() == [90, 120, 150]


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_turn_is_the_same_thing_so_many_steps_on(steps):
    photographs = ring(things=3)
    found = turned(photographs, 22.5 * steps).reshape(3, 17)
    expected = (np.arange(16) + steps) % 16 + 17 * np.arange(3)[:, None]
    np.testing.assert_array_equal(found[:, :16], expected)
    # Nothing is beside the view from above.
    assert (found[:, 16] == -1).all()


def test_views_that_were_not_taken_are_no_turn():
    assert (turned(ring(), 30) == -1).all()
    assert (turned(ring(), 0) == -1).all()
    assert (turned(ring(), 360) == -1).all()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"label": None}, "has no label"),
        ({"label": np.zeros(5, int)}, r"label of \[5\] for 6"),
        ({"label": np.full(6, "cup")}, "label of <U3, no whole numbers"),
        ({"label": np.arange(6)}, "labels 0 to 5 for 2 categories"),
        ({"label": np.arange(-1, 5)}, "labels -1 to 4 for 2"),
        ({"ends": np.arange(6)[::-1]}, "ends that do not ascend"),
        ({"ends": np.arange(1, 7)}, "bytes that end at 6"),
        ({"ends": np.zeros(0, int)}, "for 0"),
        ({"data": np.zeros(arrays()["data"].size, np.uint8)}, "image 0 is not"),
    ],
)
def test_other_files_are_refused_in_one_line(change, rule, tmp_path):
    content = arrays() | change
    content = {name: one for name, one in content.items() if one is not None}
    save(tmp_path / "some.npz", content)
    with pytest.raises(InputError, match=rule) as caught:
        read_eth80(tmp_path / "some.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04 cut off"])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "some.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"an ETH-80 file must have|could not be read"):
        read_eth80(tmp_path / "some.npz")
    with pytest.raises(InputError, match="could not be read"):
        read_eth80(tmp_path / "nowhere.npz")


def test_an_array_alone_is_refused(tmp_path):
    np.save(tmp_path / "some.npy", np.zeros(3))
    with pytest.raises(InputError, match="no archive of arrays"):
        read_eth80(tmp_path / "some.npy")


def test_photographs_of_several_sizes_are_refused(tmp_path):
    content, other = arrays(1), encoded((0, 0, 0), 24)
    content = {name: np.repeat(one, 2) for name, one in content.items()}
    first = arrays(1)["data"]
    content["data"] = np.concatenate([first, other])
    content["ends"] = np.array([len(first), len(first) + len(other)])
    save(tmp_path / "some.npz", content)
    with pytest.raises(InputError, match="must be of one size"):
        read_eth80(tmp_path / "some.npz")


def test_gradients_have_unit_norm_and_do_not_see_contrast():
    random = np.random.default_rng(0)
    images = random.integers(10, 60, (3, 32, 48, 3), np.uint8)
    found = hog(images)
    assert found.shape == (3, 3 * 5 * 36)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(hog(images * np.uint8(4)), found, atol=2e-3)


def test_the_orientation_of_an_edge_is_the_largest_bin():
    across = np.zeros((1, 32, 32, 1), np.uint8)
    across[:, :, 18:] = 255
    down = across.transpose(0, 2, 1, 3)
    sums = [hog(image).reshape(-1, 9).sum(axis=0) for image in (across, down)]
    # A vertical edge has a horizontal gradient, between the last bin and the first.
    assert set(np.argsort(sums[0])[-2:]) == {0, 8}
    assert np.argmax(sums[1]) == 4


def test_an_image_of_one_colour_has_no_gradient():
    assert not hog(np.full((1, 96, 96, 3), 77, np.uint8)).any()
    assert hog(np.zeros((0, 96, 96, 3), np.uint8)).shape == (0, 4356)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 20, 24, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((1, 16, 16, 4), np.uint8),
        np.zeros((1, 16, 16, 3)),
        np.zeros((16, 16, 3), np.uint8),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(InputError, match="images must be uint8"):
        hog(images)


def test_a_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[video\]'"):
        opencv()


@pytest.mark.skipif("ETH80" not in os.environ, reason="ETH80 names no file")
def test_gradients_of_eth80_classify_unseen_objects_across_views():
    whole = read_eth80(os.environ["ETH80"])
    assert whole.images.shape == (3280, 96, 96, 3)
    views = whole.take(whole.elevation == 90)
    assert (turned(views, 67.5) >= 0).all()
    held = hold_out(views.label, views.thing, 0.3, seed=0)
    views = views.take(held)
    features = hog(views.images)
    allowed = views_apart(views.azimuth, views.azimuth, 90)
    allowed &= views.thing[:, None] != views.thing
    found = neighbour_accuracy(
        features, views.label, features, views.label, allowed=allowed
    )
    assert 0.65 < found < 0.85


def test_folders_of_photographs_become_one_file(tmp_path):
    views = [("cup", 1, 90, 0), ("cup", 1, 90, 22), ("Apple", 10, 35, 315)]
    for number, (category, thing, elevation, azimuth) in enumerate(views):
        place = tmp_path / "eth" / str(number) / "maps"
        place.mkdir(parents=True)
        name = f"{category}{thing}-{elevation:03d}-{azimuth:03d}"
        colour = (60 * number, 10, 200)
        Image.new("RGB", (256, 256), colour).save(place.parent / f"{name}.png")
        Image.new("L", (256, 256)).save(place / f"{name}-map.png")
    assert pack(tmp_path / "eth", tmp_path / "some.npz", 32) == 3
    found = read_eth80(tmp_path / "some.npz")
    assert found.images.shape == (3, 32, 32, 3)
    assert found.categories == ("apple", "cup")
    assert found.label.tolist() == [1, 1, 0]
    assert found.elevation.tolist() == [90, 90, 35]
    assert found.azimuth.tolist() == [0, 22, 315]
    assert len(set(found.thing)) == 2
    np.testing.assert_allclose(found.images[1, 16, 16], [60, 10, 200], atol=4)
    with pytest.raises(InputError, match="named as apple1-090-022.png; .* has none"):
        pack(tmp_path / "nowhere", tmp_path / "some.npz")


def test_a_view_that_lies_in_two_folders_is_refused_by_both_names(tmp_path):
    for folder in ("close128", "cropped256"):
        (tmp_path / folder).mkdir()
        for name in ("apple1-090-000", "apple1-090-022"):
            place = tmp_path / folder / f"{name}.png"
            Image.new("RGB", (64, 64)).save(place)
    with pytest.raises(InputError, match="must be there once; got ") as caught:
        pack(tmp_path, tmp_path / "some.npz")
    for folder in ("close128", "cropped256"):
        assert str(tmp_path / folder / "apple1-090-000.png") in str(caught.value)
    assert not (tmp_path / "some.npz").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{}", "x.npz"], "photographs of ETH-80 are named as"),
        (["{}", "x.npy"], "photographs must be packed into a file *.npz; got x.npy"),
        ([], "Missing from python -m experiments.transitive.pack_eth80: FOLDER"),
        (["{}", "x.npz", "--side", "0"], "side must be a whole number above 0; got 0"),
    ],
)
def test_what_cannot_be_packed_is_a_line(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main([word.format(tmp_path) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert says in said
    assert list(tmp_path.iterdir()) == []


def test_packing_that_is_stopped_is_a_line(tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pack_eth80, "pack", stopped)
    assert main([str(tmp_path), "x.npz"]) == 130
    assert capsys.readouterr().err == "stopped without saving\n"
