"""Files of COCO's instances: what is read, and what is refused in one line."""

import json

import numpy as np
import pytest

from experiments.transitive.detection.coco_json import read_coco
from lars_jax.errors import InputError
from tests.experiments.transitive.detection.folders import write_picture


def instances():
    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "tree"}],
        "images": [
            {"id": 12, "file_name": "b.jpg", "width": 40, "height": 30},
            {"id": 5, "file_name": "some/a.jpg", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 7, "bbox": [1, 2.5, 10, 20]},
            {
                **{"id": 2, "image_id": 5, "category_id": 3, "iscrowd": 1},
                "bbox": [0, 0, 40, 30],
            },
        ],
    }


@pytest.fixture
def read(tmp_path):
    for name in ("b.jpg", "some/a.jpg"):
        write_picture(tmp_path / name)

    def read(whole, **more):
        text = whole if isinstance(whole, str) else json.dumps(whole)
        (tmp_path / "instances.json").write_text(text)
        return read_coco(tmp_path / "instances.json", tmp_path, **more)

    return read


def test_pictures_come_with_their_objects_and_ids_with_gaps_become_indices(read):
    found = read(instances())
    assert found.class_names == ("tree", "dog")
    b, a = found.pictures
    assert [p.path.name for p in (b, a)] == ["b.jpg", "a.jpg"]
    assert (a.height, a.width) == (30, 40)
    np.testing.assert_array_equal(a.boxes, [[1, 2.5, 11, 22.5], [0, 0, 40, 30]])
    np.testing.assert_array_equal(a.classes, [1, 0])
    np.testing.assert_array_equal(a.difficult, [False, True])
    assert b.boxes.shape == (0, 4)


def test_classes_are_those_that_are_passed(read):
    found = read(instances(), classes=("dog", "cat", "tree"))
    np.testing.assert_array_equal(found.pictures[1].classes, [0, 2])


def test_boxes_without_area_are_left_out_with_a_note(read):
    whole = instances()
    assert read(whole).notes == ()
    whole["annotations"][0]["bbox"] = [3, 3, 0, 4]
    found = read(whole)
    assert len(found.pictures[1].boxes) == 1
    assert "boxes without area are left out: 1 in" in found.notes[0]


def test_sizes_that_pictures_do_not_have_are_refused(read):
    whole = instances()
    whole["images"][1]["width"] = 80
    with pytest.raises(InputError, match=r"got one of 80 x 30 pixels for .*a\.jpg"):
        read(whole)
    del whole["images"][1]["width"]
    assert read(whole).pictures[1].width == 40


def changed(**paths):
    """Instances of which some values are others, by list, place and field."""
    whole = instances()
    for path, value in paths.items():
        name, place, field = path.split("__")
        whole[name][int(place)][field] = value
    return whole


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        ("[1", "which is not"),
        ("[" * 100_000, "which is not"),
        ("[]", "got no categories in"),
        ({**instances(), "images": []}, "got no images in"),
        ({**instances(), "annotations": None}, "got no annotations in"),
        ({**instances(), "annotations": []}, "got none in"),
        ({**instances(), "images": [5]}, "got id = None in images 0 of"),
        (changed(images__0__file_name="some/a.jpg"), "every file_name is there once"),
        (changed(images__0__id=5), "got 5 again in"),
        (changed(images__0__id=True), "got id = True in images 0"),
        (changed(images__0__file_name="none.jpg"), "none.jpg: add it"),
        (changed(images__0__file_name="/a.jpg"), "got file_name /a.jpg: put it into"),
        (changed(images__0__file_name="../a.jpg"), "got file_name ../a.jpg"),
        (changed(annotations__0__iscrowd="0"), "iscrowd is 0 or 1; got '0' in"),
        (changed(categories__0__name="tree"), "got ['tree', 'tree'] in"),
        (changed(annotations__0__image_id=9), "got image_id = 9 in annotation 1 of"),
        (changed(annotations__0__category_id=9), "got category_id = 9 in annotation 1"),
        (changed(annotations__0__bbox=[1, 2, 3]), "got [1, 2, 3] in annotation 1"),
        (changed(annotations__0__bbox=[1, 2, 3, "4"]), "four numbers"),
        (changed(annotations__0__bbox=[1, 2, 3, 10**400]), "four numbers"),
        (changed(annotations__0__bbox=[1, 2, 3, float("nan")]), "four numbers"),
        (changed(annotations__0__bbox="1 2 3 4"), "got bbox = '1 2 3 4'"),
        (changed(annotations__0__bbox=[1, 2, -3, 4]), "got 1, 2, -2, 6 in"),
        (changed(annotations__0__bbox=[1, 2, 41, 4]), "40 x 30 pixels"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(read, whole, told):
    with pytest.raises(InputError) as caught:
        read(whole)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_is_not_passed_is_named(read):
    with pytest.raises(InputError, match="classes dog; got tree in annotation 2 of"):
        read(instances(), classes=("dog",))


def test_a_folder_that_is_missing_is_named(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(instances()))
    with pytest.raises(InputError, match="got no folder .*gone"):
        read_coco(path, tmp_path / "gone")
