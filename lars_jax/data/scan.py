"""Files of some kinds in a folder, at any depth, and what is passed over."""

import os
from collections import Counter
from collections.abc import Collection, Iterator


def scan_files(
    folder: str | os.PathLike[str], suffixes: Collection[str], passed_over: Counter[str]
) -> Iterator[str]:
    """Yield the path of every file whose name ends so, from the folder on.

    No file is opened. Their order is that of the disk.

    Args:
        folder: where to look.
        suffixes: in lower case, such as `.png`.
        passed_over: counts what is not yielded, by reason.

    Raises:
        OSError: a folder cannot be read.

    >>> import pathlib, tempfile
    >>> place, counts = pathlib.Path(tempfile.mkdtemp()), Counter()
    >>> for name in ("a.PNG", ".b.png", "c.txt"):
    ...     (place / name).touch()
    >>> list(scan_files(place, {".png"}, counts)), counts[".txt"], counts["hidden"]
    (['a.PNG'], 1, 1)
    """
    return _scan(os.fspath(folder), "", suffixes, passed_over, frozenset())


def is_hidden(name: str) -> bool:
    """Return whether a name is that of a hidden file.

    Desktops and copying programs leave them behind, such as `._cat.jpg`.
    """
    return name.startswith(".")


def _scan(
    folder: str,
    prefix: str,
    suffixes: Collection[str],
    passed_over: Counter[str],
    above: frozenset[tuple[int, int]],
) -> Iterator[str]:
    found = os.stat(folder)
    if (found.st_dev, found.st_ino) in above:
        passed_over["link to a folder that it is in"] += 1
        return
    above |= {(found.st_dev, found.st_ino)}
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        suffix = os.path.splitext(entry.name)[1].lower()
        name = prefix + entry.name
        if is_hidden(entry.name):
            passed_over["hidden"] += 1
        elif entry.is_dir():
            yield from _scan(entry.path, f"{name}/", suffixes, passed_over, above)
        elif suffix not in suffixes:
            passed_over[suffix or "without a suffix"] += 1
        elif not entry.is_file():
            # A pipe would keep its reader waiting for ever.
            passed_over["broken link or no file"] += 1
        else:
            yield name
