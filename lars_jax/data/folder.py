"""Images in folders, one folder per class."""

from dataclasses import dataclass
from pathlib import Path

from lars_jax.data.decode import decode_image
from lars_jax.data.source import Example
from lars_jax.errors import InputError

SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Names of image files end so, in upper or lower case; other files are passed over."""


@dataclass(frozen=True)
class FolderSource:
    """A source of RGB images that are decoded from files as they are asked for.

    Attributes:
        name: name of the folder and split.
        class_names: the classes, sorted.
        files: path of every image.
        labels: class of every image.
    """

    name: str
    class_names: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> Example:
        file = self.files[index]
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(
                f"An image must be readable, {file} is not ({error.strerror}); "
                "replace or delete it."
            ) from error
        return decode_image(data, channels=3, where=str(file)), self.labels[index]


def folder_source(path: str | Path, split: str) -> FolderSource:
    """Return the images under `path/split/class/`, sorted by class and file name.

    The labels are places in the sorted names of the classes of all splits together, so
    a split that lacks a class does not shift the labels of the others.

    Args:
        path: folder that holds the splits; `~` is the home directory.
        split: name of the split's folder.

    Returns:
        A source of uint8 [H, W, 3] images.

    Raises:
        InputError: a missing folder, or no image in it.

    >>> folder_source("/no/such/place", "train")
    Traceback (most recent call last):
    lars_jax.errors.InputError: A folder data set is PATH/SPLIT/CLASS/image, ...
    """
    root = Path(path).expanduser()
    chosen = root / split
    if not split or not chosen.is_dir():
        have = ", ".join(entry.name for entry in _folders(root)) or "nothing"
        raise InputError(
            f"A folder data set is PATH/SPLIT/CLASS/image, {chosen} is no folder "
            f"({root} has {have}); correct the path or the split."
        )
    members = {entry.name: _images(entry) for entry in _folders(chosen)}
    others = {
        entry.name
        for other in _folders(root)
        for entry in _folders(other)
        if entry.name not in members and _images(entry)
    }
    names = sorted({name for name, files in members.items() if files} | others)
    pairs = [
        (file, k) for k, name in enumerate(names) for file in members.get(name, ())
    ]
    if not pairs:
        raise InputError(
            f"A folder data set is PATH/SPLIT/CLASS/image, {chosen} has no images "
            f"({', '.join(sorted(SUFFIXES))}) in class folders; add some."
        )
    return FolderSource(
        f"folder:{root}/{split}",
        tuple(names),
        tuple(file for file, _ in pairs),
        tuple(label for _, label in pairs),
    )


def _folders(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if entry.is_dir()]


def _images(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if entry.suffix.lower() in SUFFIXES]


def _entries(path: Path) -> list[Path]:
    # Hidden files are left behind by desktops and copying programs ("._cat.jpg").
    return sorted(path.glob("[!.]*"))
