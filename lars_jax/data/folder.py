"""Images in folders, one folder per class."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lars_jax.data.decode import Fit, decode_image, image_size
from lars_jax.data.fingerprint import Fingerprint, digest_files
from lars_jax.data.scan import is_hidden, scan_files
from lars_jax.data.source import Example
from lars_jax.errors import InputError, naming
from lars_jax.files import local_path

SUFFIXES = frozenset(
    {
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".pcx", ".png", ".qoi"),
        *(".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
        *(".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""Names of image files end so, in upper or lower case; other files are passed over."""


@dataclass(frozen=True)
class FolderSource:
    """A source of RGB images that are decoded from files as they are asked for.

    Attributes:
        root: the folder of the data set.
        split: the split, a folder in it.
        class_names: the classes, sorted.
        names: path of every image in the folder of the split.
        labels: class of every image.
        passed_over: how many files and folders were, by reason.
    """

    root: Path
    split: str
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the folder and split."""
        return f"folder:{self.root}/{self.split}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Path of every image."""
        return tuple(self.root / self.split / name for name in self.names)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user may not expect of the folder, a line each."""
        have = Counter(self.labels)
        empty = [name for k, name in enumerate(self.class_names) if not have[k]]
        lines = []
        if empty:
            lines.append(f"no images of {_listed(empty)}")
        counts = [f"{n} {why}" for why, n in sorted(self.passed_over.items()) if n]
        if counts:
            lines.append(f"passed over: {', '.join(counts)}")
        return tuple(f"{self.name}: {line}" for line in lines)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> Example:
        return self._read(index)

    def read_resized(
        self, indices: Sequence[int], size: int, fit: Fit
    ) -> list[Example]:
        """Return examples with their images resized to squares."""
        return [self._read(index, size=size, fit=fit) for index in indices]

    def image_size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image, from its header."""
        path = self.root / self.split / self.names[index]
        with naming(path, "read"), path.open("rb") as file:
            return image_size(file, where=str(path))

    def _read(self, index: int, **resizing: Any) -> Example:
        file = self.root / self.split / self.names[index]
        with naming(file, "read"):
            data = file.read_bytes()
        image = decode_image(data, channels=3, where=str(file), **resizing)
        return image, self.labels[index]

    def fingerprint(self) -> Fingerprint:
        """Return what the split is known by: classes, paths, sizes and contents."""
        digests = digest_files(self.root / self.split, self.names)
        parts = {_composed(name): digest for name, digest in digests.items()}
        return Fingerprint(len(self), self.class_names, parts)


def folder_source(
    path: str | Path, split: str, *, beside: Sequence[str] = ()
) -> FolderSource:
    """Return the images under `path/split/class/`, sorted by class and path.

    Images may lie in folders of a class at any depth. Names are compared in Unicode's
    composed form (NFC), however the disk spells them. Labels are places in the sorted
    names of the classes of all splits in use together, so that one that lacks a class
    does not shift the labels of the others.

    Args:
        path: folder that holds the splits; `~` is the home directory.
        split: name of the split's folder.
        beside: the other splits in use.

    Returns:
        A source of uint8 [H, W, 3] images.

    Raises:
        InputError: a missing or unreadable folder, no image in it, or two images whose
            paths have one composed form.

    >>> folder_source("/no/such/place", "train")
    Traceback (most recent call last):
    lars_jax.errors.InputError: a folder data set must be PATH/SPLIT/CLASS/image; ...
    """
    root = local_path(path)
    passed_over: Counter[str] = Counter()
    images = _images(root, split, passed_over)
    classes = {_class(name) for name in images}
    for other in beside:
        if other != split:
            classes |= {_class(name) for name in _images(root, other, Counter())}
    names = sorted(classes)
    place = {name: k for k, name in enumerate(names)}
    ordered = sorted(images, key=lambda name: _composed(name).split("/"))
    labels = (place[_class(name)] for name in ordered)
    return FolderSource(
        root, split, tuple(names), tuple(ordered), tuple(labels), dict(passed_over)
    )


_RULE = "a folder data set must be PATH/SPLIT/CLASS/image"


def _images(root: Path, split: str, passed_over: Counter[str]) -> list[str]:
    """Return the paths of a split's images, from its folder on."""
    chosen = root / split
    try:
        if split in ("", ".", "..") or not chosen.is_dir():
            have = ", ".join(_folders(root, Counter())) if root.is_dir() else ""
            raise InputError(
                f"{_RULE}; got no folder {chosen} ({root} has {have or 'nothing'}): "
                "correct the path or the split."
            )
        found: list[str] = []
        for name in _folders(chosen, passed_over):
            images = [
                f"{name}/{path}"
                for path in scan_files(chosen / name, SUFFIXES, passed_over)
            ]
            if not images:
                passed_over["class folder without images"] += 1
            found += images
    except OSError as error:
        raise InputError(
            f"{_RULE}, readable; {error.filename} is not ({error.strerror}): change "
            "its permissions or take it away."
        ) from error
    if not found:
        raise InputError(
            f"{_RULE}; {chosen} has no images ({', '.join(sorted(SUFFIXES))}) in class "
            "folders: add some."
        )
    _require_sound(chosen, found)
    return found


def _folders(path: Path, passed_over: Counter[str]) -> list[str]:
    with os.scandir(path) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    seen = [entry for entry in listed if not is_hidden(entry.name)]
    folders = [entry.name for entry in seen if entry.is_dir()]
    passed_over["file outside class folders"] += len(seen) - len(folders)
    passed_over["hidden"] += len(listed) - len(seen)
    return folders


def _require_sound(chosen: Path, names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        composed = _composed(name)
        if composed in seen:
            raise InputError(
                f"images must differ by more than the Unicode form of their names; got "
                f"{seen[composed]!a} and {name!a} in {chosen}: rename one."
            )
        seen[composed] = name
        if not _class(name).isprintable():
            raise InputError(
                f"the name of a class must be printable Unicode; got "
                f"{_class(name)!a} in {chosen}: rename it."
            )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _class(name: str) -> str:
    return _composed(name.partition("/")[0])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
