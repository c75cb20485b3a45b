"""Folders in VOC's layout: what is read, and what is refused in one line."""

import os

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.detection.annotated import read_pixels
from experiments.transitive.detection.voc import read_voc, split_names
from lars_jax.errors import InputError
from tests.experiments.transitive.detection.folders import (
    annotation,
    write_picture,
    write_voc,
    xml_object,
)

CAT, DOG = xml_object("cat", (1, 1, 10, 20)), xml_object("dog", (5, 6, 5, 6))
WHOLE = xml_object("dog", (1, 1, 40, 30), "<difficult>1</difficult>")


@pytest.fixture
def folder(tmp_path):
    return write_voc(tmp_path, {"b": [WHOLE, CAT], "a": [], "c": [DOG]})


def test_pictures_come_in_the_order_of_the_list_with_their_objects(folder):
    found = read_voc(folder, "train")
    assert found.class_names == ("cat", "dog")
    b, a, c = found.pictures
    assert [picture.name for picture in (b, a, c)] == ["b", "a", "c"]
    assert (b.height, b.width) == (30, 40)
    # From pixels 1 .. last to edges.
    np.testing.assert_array_equal(b.boxes, [[0, 0, 40, 30], [0, 0, 10, 20]])
    np.testing.assert_array_equal(c.boxes, [[4, 5, 5, 6]])
    assert b.boxes.dtype == np.float32
    np.testing.assert_array_equal(b.classes, [1, 0])
    np.testing.assert_array_equal(b.difficult, [True, False])
    assert a.boxes.shape == (0, 4)
    assert a.classes.dtype == np.int32
    assert a.difficult.dtype == bool


def test_classes_are_those_that_are_passed(folder):
    found = read_voc(folder, "train", classes=("zebra", "dog", "cat"))
    assert found.class_names == ("zebra", "dog", "cat")
    np.testing.assert_array_equal(found.pictures[0].classes, [1, 2])


def test_sizes_that_pictures_do_not_have_are_refused(folder):
    annotation(folder, "a", CAT, 30, 40)
    with pytest.raises(InputError, match=r"got one of 30 x 40 pixels for .*a\.jpg"):
        read_voc(folder, "train")
    annotation(folder, "a", CAT, 0, 0)
    assert read_voc(folder, "train").pictures[1].width == 40


def test_objects_and_pictures_tell_one_split_from_another(folder):
    before = read_voc(folder, "train").fingerprint()
    assert before.class_names == ("cat", "dog")
    assert before.digest == read_voc(folder, "train").fingerprint().digest
    annotation(folder, "b", WHOLE + CAT.replace("10", "11"))
    after = read_voc(folder, "train").fingerprint()
    assert before.difference(after) == "objects of b.jpg has another content"
    write_picture(folder / "JPEGImages" / "a.png").rename(
        folder / "JPEGImages" / "a.jpg"
    )
    assert "a.jpg has another" in str(
        after.difference(read_voc(folder, "train").fingerprint())
    )


def test_a_split_to_test_on_may_be_without_objects(folder):
    write_voc(folder, {"d": []}, "test")
    assert len(read_voc(folder, "test", classes=("cat",)).pictures) == 1


def test_pictures_may_be_png_and_lists_may_have_bom_and_empty_lines(folder):
    write_picture(folder / "JPEGImages" / "e.png", 20, 10)
    annotation(folder, "e", CAT.replace("20", "10"), 20, 10)
    path = folder / "ImageSets" / "Main" / "odd.txt"
    path.write_bytes("\ufeffe\r\n\r\n  a \n".encode())
    found = read_voc(folder, "odd")
    assert [picture.path.name for picture in found.pictures] == ["e.png", "a.jpg"]
    assert (found.pictures[0].height, found.pictures[0].width) == (10, 20)


def test_a_box_a_pixel_outside_is_clipped(folder):
    annotation(folder, "a", xml_object("cat", (0, 0.5, 41, 30.0)))
    boxes = read_voc(folder, "train").pictures[1].boxes
    np.testing.assert_array_equal(boxes, [[0, 0, 40, 30]])


def test_pixels_are_read_when_they_are_asked_for(folder):
    picture = read_voc(folder, "train").pictures[0]
    pixels = read_pixels(picture)
    assert pixels.shape == (30, 40, 3)
    assert np.abs(pixels[20, 30].astype(int) - [200, 30, 30]).max() < 20
    write_picture(picture.path, 50, 30)
    with pytest.raises(InputError, match="50 x 30 pixels instead of 40 x 30"):
        read_pixels(picture)


def read_all(folder, split, classes):
    return [read_pixels(p) for p in read_voc(folder, split, classes=classes).pictures]


def refused(folder, *told, split="train", classes=None):
    with pytest.raises(InputError) as caught:
        read_all(folder, split, classes)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    for part in told:
        assert part in said, said


@pytest.mark.parametrize("part", ["JPEGImages", "Annotations", "ImageSets"])
def test_a_folder_that_is_missing_is_named(folder, part):
    (folder / part).rename(folder / "gone")
    refused(folder, part, "correct the path")


def test_a_split_that_is_missing_is_answered_with_those_that_there_are(folder):
    write_voc(folder, {"a": []}, "test")
    refused(folder, "val.txt", "name one of test, train", split="val")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "got none in"),
        ("\n \n", "got none in"),
        ("a\nb\na\n", "got a again in"),
        ("a 1\nb -1\n", "got 2 columns in"),
        ("../a\n", "got ../a in"),
        ("a\nnone\n", "none.xml could not be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(folder, text, told):
    (folder / "ImageSets" / "Main" / "train.txt").write_text(text)
    refused(folder, told)


def test_a_list_of_other_bytes_is_named(folder):
    path = folder / "ImageSets" / "Main" / "train.txt"
    path.write_bytes(b"\xff\xfe\x00")
    refused(folder, "UTF-8", str(path))


@pytest.mark.parametrize(
    ("objects", "told"),
    [
        ("<object><name>cat</name></object>", "none of the second in object 1 of"),
        (CAT.replace("<name>cat</name>", ""), "none of the first in object 1 of"),
        (CAT.replace("<name>cat</name>", "<name> </name>"), "none of the first"),
        (CAT.replace("<xmax>10</xmax>", ""), "got xmax = nothing in object 1 of"),
        (CAT.replace("<xmax>10<", "<xmax>ten<"), "got xmax = 'ten' in object 1"),
        (xml_object("cat", (9, 1, 8, 5)), "got 8, 0, 8, 5 in"),
        (xml_object("cat", (1, 9, 8, 2)), "x1 < x2 and y1 < y2"),
        (xml_object("cat", ("nan", 9, 8, 20)), "x1 < x2 and y1 < y2"),
        (xml_object("cat", (1, 1, "1e999", 9)), "x1 < x2 and y1 < y2"),
        (xml_object("cat", (1, 1, 42, 9)), "of 40 x 30 pixels"),
        (xml_object("cat", (-1, 1, 4, 9)), "of 40 x 30 pixels"),
        (xml_object("cat", (41, 1, 41, 9)), "of 40 x 30 pixels"),
        (xml_object("cat", (1, 1, 2, 2), "<difficult>x</difficult>"), "got 'x'"),
        ("<object>", "which is not (mismatched tag"),
    ],
)
def test_an_object_that_cannot_be_used_is_named(folder, objects, told):
    path = annotation(folder, "a", objects)
    refused(folder, told, str(path))


@pytest.mark.parametrize(
    "text", ["", "{}", "<html></html>", "<?xml version='1.0' encoding='x'?><a/>"]
)
def test_an_annotation_of_another_form_is_named(folder, text):
    path = annotation(folder, "a", "")
    path.write_text(text)
    refused(folder, str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_grow(folder, encoding):
    levels = "".join(f'<!ENTITY e{k + 1} "{f"&e{k};" * 10}">' for k in range(9))
    text = f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><annotation>&e9;</annotation>'
    path = annotation(folder, "a", "")
    path.write_bytes(text.encode(encoding))
    refused(folder, "document type", str(path))


def test_a_class_that_is_not_passed_is_named(folder):
    refused(folder, "classes cat; got dog in", "b.xml", classes=("cat",))
    refused(folder, "got ['cat', 'cat']", classes=("cat", "cat"))


def test_a_split_to_learn_from_has_objects(folder):
    write_voc(folder, {"d": []}, "test")
    refused(folder, "got none in", "test.txt", split="test")


def test_a_picture_that_is_missing_or_broken_is_named(folder):
    path = folder / "JPEGImages" / "b.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(folder, str(path), "must be readable")
    path.write_bytes(b"no picture")
    refused(folder, str(path), "no image file that Pillow knows")
    path.unlink()
    refused(folder, str(path), "add it, or take the name out")


def test_boxes_are_those_of_the_picture_as_it_is_meant_to_be_seen(folder):
    # Its camera was turned, so that 40 x 30 pixels in the file are 30 x 40.
    image, exif = Image.new("RGB", (40, 30)), Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "JPEGImages" / "a.jpg", exif=exif)
    objects = xml_object("cat", (1, 1, 30, 40))
    annotation(folder, "a", objects, 40, 30)
    with pytest.raises(InputError, match="which has 30 x 40"):
        read_voc(folder, "train")
    annotation(folder, "a", objects, 30, 40)
    picture = read_voc(folder, "train").pictures[1]
    assert (picture.height, picture.width) == (40, 30)
    assert read_pixels(picture).shape == (40, 30, 3)


DATA = os.environ.get("DETECTION_VOC", "")
needs_data = pytest.mark.skipif(
    not DATA, reason="DETECTION_VOC does not name a folder of data sets"
)


@needs_data
@pytest.mark.parametrize(
    ("name", "pictures", "boxes", "classes"),
    [("raccoon", (160, 40), (174, 43), 1), ("indoor", (68, 17), (556, 130), 30)],
)
def test_real_data_sets_are_read(name, pictures, boxes, classes):
    root, splits = f"{DATA}/{name}", ("train", "test")
    own = [read_voc(root, split).class_names for split in splits]
    names = sorted({name for some in own for name in some})
    found = [read_voc(root, split, classes=names) for split in splits]
    assert len(names) == classes
    assert tuple(len(split.pictures) for split in found) == pictures
    assert tuple(sum(len(p.boxes) for p in split.pictures) for split in found) == boxes
    both = [set(split_names(root, split)) for split in splits]
    assert not both[0] & both[1]
