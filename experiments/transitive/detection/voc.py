"""Pictures with boxes from a folder in the layout of PASCAL VOC.

    JPEGImages/NAME.jpg          the picture, or .jpeg, .png
    Annotations/NAME.xml         its objects
    ImageSets/Main/SPLIT.txt     a NAME on each line

An XML file counts pixels from 1 to the last one: its (xmin, ymin, xmax, ymax) is read
as (xmin - 1, ymin - 1, xmax, ymax).
"""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

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

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
"""What the name of a picture may end with, the first there is."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str
    corners: tuple[float, ...]
    difficult: bool


class _Annotation(NamedTuple):
    height: float
    width: float
    objects: list[_Object]


def read_voc(
    folder: str | os.PathLike[str], split: str, *, classes: Sequence[str] | None = None
) -> Annotated:
    """Return the pictures of a split, and what is in them.

    Args:
        folder: with JPEGImages, Annotations and ImageSets.
        split: a list of ImageSets/Main, such as `train`.
        classes: names by index, as `read_voc` of the training split has given them;
            None: those that this split has, sorted.

    Raises:
        InputError: a folder, list, annotation or picture that is not there or cannot be
            used; a class that `classes` does not name; without them, a split that has
            no object; a size in an annotation that its picture does not have.

    >>> read_voc("/no/such/place", "train")
    Traceback (most recent call last):
    lars_jax.errors.InputError: a data set in VOC layout has folders JPEGImages, \
Annotations and ImageSets/Main; got no folder /no/such/place: correct the path
    """
    root = local_path(folder)
    names = split_names(root, split)
    found = [_read_xml(root / "Annotations" / f"{name}.xml") for name in names]
    if classes is None:
        classes = sorted({thing.name for one in found for thing in one.objects})
        if not classes:
            raise InputError(
                "a split to learn from has objects; got none in "
                f"{_list_path(root, split)}: annotate some of its pictures, or name "
                "another split"
            )
    index = _class_index(classes)
    pictures = [
        _picture(root, name, one, index) for name, one in zip(names, found, strict=True)
    ]
    return Annotated(
        pictures=tuple(pictures),
        class_names=tuple(classes),
        root=root / "JPEGImages",
    )


def split_names(folder: str | os.PathLike[str], split: str) -> list[str]:
    """Return the names of the pictures of a split, in the order of its list.

    Raises:
        InputError: no such list, one of another form, or one that is empty or names a
            picture twice.
    """
    root = local_path(folder)
    _check_folders(root)
    path = _list_path(root, split)
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt")))
        raise InputError(
            f"a split is a list of ImageSets/Main; got no file {path}: name one of "
            f"{there or 'those you write there'}"
        )
    with naming(path, "read"):
        data = path.read_bytes()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"a list of names is text in UTF-8; got other bytes in {path}: convert it"
        ) from error
    names = [_name_of(line.split(), f"{path}:{k}") for k, line in enumerate(lines, 1)]
    names = [name for name in names if name]
    if not names:
        raise InputError(
            f"a split names at least one picture; got none in {path}: add some"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"a split names a picture once; got {twice} again in {path}: delete all "
            "but one line of it"
        )
    return names


def _list_path(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Main" / f"{split}.txt"


def _check_folders(root: Path) -> None:
    for part in (".", "JPEGImages", "Annotations", "ImageSets/Main"):
        if not (root / part).is_dir():
            raise InputError(
                "a data set in VOC layout has folders JPEGImages, Annotations and "
                f"ImageSets/Main; got no folder {root / part}: correct the path"
            )


def _name_of(columns: list[str], where: str) -> str:
    if len(columns) > 1:
        # A list of one class, which says of every picture whether it shows the class.
        raise InputError(
            f"a split has one name a line; got {len(columns)} columns in {where}: name "
            "the list of all classes, such as train rather than cat_train"
        )
    name = columns[0] if columns else ""
    if "/" in name or "\\" in name:
        raise InputError(
            f"a split has names without folder or suffix; got {name} in {where}: "
            "correct it"
        )
    return name


def _class_index(classes: Sequence[str]) -> dict[str, int]:
    if not classes or len(set(classes)) < len(classes):
        raise InputError(
            f"classes are different names, one at least; got {list(classes)}: correct "
            "them"
        )
    return {name: number for number, name in enumerate(classes)}


def _picture(
    root: Path, name: str, annotation: _Annotation, index: dict[str, int]
) -> Picture:
    files = [root / "JPEGImages" / f"{name}{suffix}" for suffix in SUFFIXES]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise InputError(
            f"every name of a split has a picture; got no file {files[0]}: add it, or "
            "take the name out"
        )
    height, width = size_on_disk(path)
    check_size(annotation.height, annotation.width, height, width, path)
    where, boxes, classes = f"{root / 'Annotations' / name}.xml", [], []
    for thing in annotation.objects:
        if thing.name not in index:
            raise InputError(
                f"objects are of the classes {', '.join(index)}; got {thing.name} in "
                f"{where}: name it among the classes, or delete the object"
            )
        x1, y1, x2, y2 = thing.corners
        boxes.append(
            fit_box((x1 - 1, y1 - 1, x2, y2), height=height, width=width, where=where)
        )
        classes.append(index[thing.name])
    difficult = [thing.difficult for thing in annotation.objects]
    packed = pack_objects(boxes, classes, difficult)
    return Picture(path=path, height=height, width=width, **packed)


def _read_xml(path: Path) -> _Annotation:
    with naming(path, "read"):
        data = path.read_bytes()
    try:
        # Looked for before parsing, as in a document type a short file can define a
        # text of gigabytes; UTF-16, which would hide it, has zero bytes.
        if b"<!DOCTYPE" in data or b"\0" in data:
            raise ValueError("a document type, or zero bytes")
        root = ElementTree.fromstring(data)
    # Of encodings that Python does not know come the last two.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"an annotation is plain XML in UTF-8; got {path}, which is not ({why}): "
            "write it anew"
        ) from error
    if root.tag != "annotation":
        raise InputError(
            f"an annotation begins with <annotation>; got <{root.tag}> in {path}: "
            "replace the file"
        )
    sides = (root.findtext(f"size/{side}") or "0" for side in ("height", "width"))
    height, width = (float(side) if side.isdecimal() else 0.0 for side in sides)
    return _Annotation(height, width, list(_objects(root, path)))


def _objects(root: ElementTree.Element, path: Path) -> Iterator[_Object]:
    for number, element in enumerate(root.iterfind("object"), 1):
        where = f"object {number} of {path}"
        name = " ".join((element.findtext("name") or "").split())
        box = element.find("bndbox")
        if not name or box is None:
            raise InputError(
                "an object has a <name> and a <bndbox>; got none of the "
                f"{'second' if name else 'first'} in {where}: add it, or delete the "
                "object"
            )
        corners = tuple(_corner(box.findtext(key), key, where) for key in CORNERS)
        said = (element.findtext("difficult") or "0").strip()
        if said not in ("0", "1"):
            raise InputError(
                f"<difficult> is 0 or 1; got {said!r} in {where}: correct it"
            )
        yield _Object(name, corners, said == "1")


def _corner(text: str | None, key: str, where: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise InputError(
            "a <bndbox> has numbers xmin, ymin, xmax and ymax; got "
            f"{key} = {'nothing' if text is None else repr(text)} in {where}: mend "
            "the file"
        ) from error
