"""Pictures with boxes from a JSON file of COCO's instances and a folder of pictures.

Its boxes [x, y, width, height] are in continuous coordinates already. Its crowds, many
things in one box, are difficult objects here.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.transitive.detection.annotated import (
    Annotated,
    Picture,
    check_size,
    fit_box,
    pack_objects,
    size_on_disk,
)
from lars_jax.errors import InputError, naming
from lars_jax.files import local_path

FIELDS = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int, "bbox": list},
}
"""What rows of each list must have."""


def read_coco(
    file: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
) -> Annotated:
    """Return the pictures of a file of instances, and what is in them.

    Boxes without width or height, of which COCO's own files have a few, are left out,
    and a note says how many.

    Args:
        file: such as instances_val2017.json.
        folder: of the pictures.
        classes: names by index, as `read_coco` of the training file has given them;
            None: those of the file's categories, by their ids, which may have gaps.

    Raises:
        InputError: a file, row or picture that is not there or cannot be used; a class
            that `classes` does not name; without them, a file that has no object; a
            size in the file that its picture does not have.

    >>> read_coco("/no/such/file.json", "/no/such/place")
    Traceback (most recent call last):
    lars_jax.errors.FileError: /no/such/file.json could not be read (No such file or \
directory): correct the path, or name another
    """
    path, root = local_path(file), local_path(folder)
    lists = _read_lists(path)
    if not root.is_dir():
        raise InputError(
            f"pictures lie in a folder; got no folder {root}: correct the path"
        )
    if classes is None and not lists["annotations"]:
        raise InputError(
            f"a file to learn from has objects; got none in {path}: name another file"
        )
    names = _unique(lists["categories"], "id", path)
    ordered = [names[key]["name"] for key in sorted(names)]
    if len(set(ordered)) < len(ordered):
        raise InputError(
            f"categories have different names; got {ordered} in {path}: rename those "
            "that are alike"
        )
    found = tuple(ordered if classes is None else classes)
    index = {name: number for number, name in enumerate(found)}
    images = _unique(lists["images"], "id", path)
    rows: dict[int, list[tuple[str, dict[str, Any]]]] = {key: [] for key in images}
    left_out = 0
    for number, row in enumerate(lists["annotations"]):
        where = f"annotation {row.get('id', number)} of {path}"
        _check_known(row, "image_id", images, where)
        _check_known(row, "category_id", names, where)
        name = names[row["category_id"]]["name"]
        if name not in index:
            raise InputError(
                f"objects are of the classes {', '.join(found)}; got {name} in {where}:"
                " name it among the classes, or delete the object"
            )
        if _empty(row["bbox"]):
            left_out += 1
        else:
            rows[row["image_id"]].append((where, row | {"class": index[name]}))
    _unique(lists["images"], "file_name", path)
    pictures = [_picture(root, images[key], rows[key]) for key in images]
    notes = (f"boxes without area are left out: {left_out} in {path}",)
    return Annotated(
        pictures=tuple(pictures),
        class_names=found,
        root=root,
        notes=notes if left_out else (),
    )


def _read_lists(path: Path) -> dict[str, list[dict[str, Any]]]:
    with naming(path, "read"):
        data = path.read_bytes()
    try:
        whole = json.loads(data)
    # Nested too deeply, it is a RecursionError.
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"instances are a file of JSON; got {path}, which is not ({error}): fetch "
            "it again"
        ) from error
    for name, fields in FIELDS.items():
        rows = whole.get(name) if isinstance(whole, dict) else None
        if not isinstance(rows, list) or (not rows and name != "annotations"):
            raise InputError(
                "instances have lists images, categories and annotations; got no "
                f"{name} in {path}: name a file such as instances_val2017.json"
            )
        for number, row in enumerate(rows):
            _check_fields(row, fields, f"{name} {number} of {path}")
    return whole


def _check_fields(row: Any, fields: dict[str, type], where: str) -> None:
    for field, kind in fields.items():
        value = row.get(field) if isinstance(row, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"every row has {', '.join(fields)}; got {field} = {value!r} in "
                f"{where}: mend the file"
            )


def _unique(rows: Sequence[dict[str, Any]], field: str, path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for row in rows:
        if row[field] in found:
            raise InputError(
                f"every {field} is there once; got {row[field]} again in {path}: "
                "delete or rename one of them"
            )
        found[row[field]] = row
    return found


def _check_known(row: dict[str, Any], field: str, known: Any, where: str) -> None:
    if row[field] not in known:
        raise InputError(
            f"annotations are of images and categories of their file; got {field} = "
            f"{row[field]} in {where}: add what it names, or delete the annotation"
        )


def _empty(box: list[Any]) -> bool:
    return len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) == 0


def _is_number(value: Any) -> bool:
    # JSON has whole numbers of any length, and Python reads NaN and Infinity in it.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -1e9 < value < 1e9


def _picture(
    root: Path, image: dict[str, Any], rows: Sequence[tuple[str, dict[str, Any]]]
) -> Picture:
    path = root / image["file_name"]
    if not path.is_relative_to(root) or ".." in Path(image["file_name"]).parts:
        raise InputError(
            "every picture lies in the folder of its split; got file_name "
            f"{image['file_name']}: put it into {root}"
        )
    if not path.is_file():
        raise InputError(
            f"every image of the file has a picture; got no file {path}: add it, or "
            "name another folder"
        )
    height, width = size_on_disk(path)
    check_size(image.get("height"), image.get("width"), height, width, path)
    boxes = []
    for where, row in rows:
        if len(row["bbox"]) != 4 or not all(map(_is_number, row["bbox"])):
            raise InputError(
                "a bbox is four numbers x, y, width, height; got "
                f"{row['bbox']} in {where}: mend the file"
            )
        x, y, across, down = row["bbox"]
        corners = (x, y, x + across, y + down)
        boxes.append(fit_box(corners, height=height, width=width, where=where))
        if row.get("iscrowd", 0) not in (0, 1):
            raise InputError(
                f"iscrowd is 0 or 1; got {row['iscrowd']!r} in {where}: mend the file"
            )
    crowd = [bool(row.get("iscrowd", 0)) for _, row in rows]
    packed = pack_objects(boxes, [row["class"] for _, row in rows], crowd)
    return Picture(path=path, height=height, width=width, **packed)
