"""What a data set is known by, so that a run notices when other data lie in its place.

A fingerprint has the classes in their order and a digest of each part: of each file's
path, size and content in a folder, of each shard of a prepared TFDS data set, of the
arrays of one that is held in memory. Two that differ can say where.
"""

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lars_jax.errors import FileError
from lars_jax.files import make_directory, replacing

T = TypeVar("T")

CHUNK = 1000
"""Files that a thread looks at in turn."""

WHOLE = 2**16
"""Bytes that are digested of a file's beginning; most pictures have no more."""

WINDOW = 2**12
"""Bytes that are digested of a larger file's middle, and of its end."""

UNSETTLED_SECONDS = 3
"""A file changed so recently may change again within the clock's resolution."""


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a split of a data set.

    Attributes:
        examples: number of its examples.
        class_names: its classes; label k is `class_names[k]`.
        parts: digest of each part by its name, such as a file's path in its folder.

    >>> before = Fingerprint(2, ("cat", "dog"), {"cat/1.png": "a", "dog/1.png": "b"})
    >>> after = Fingerprint(2, ("cat", "dog"), {"cat/1.png": "a", "dog/2.png": "b"})
    >>> before.digest == after.digest
    False
    >>> before.difference(after)
    'dog/1.png is missing, dog/2.png is new'
    """

    examples: int
    class_names: tuple[str, ...]
    parts: Mapping[str, str]

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> "Fingerprint":
        """Return what tells files of one folder, which have no classes, from others.

        Raises:
            InputError: as of `digest_files`.
        """
        parts = digest_files(files[0].parent, [file.name for file in files])
        return cls(len(parts), (), parts)

    @cached_property
    def digest(self) -> str:
        """Digest of everything here, 32 hexadecimal digits."""
        everything = [self.examples, self.class_names, sorted(self.parts.items())]
        text = json.dumps(everything).encode()
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Return what a run's record keeps beside the list of parts."""
        return {
            "examples": self.examples,
            "class_names": list(self.class_names),
            "digest": self.digest,
        }

    def difference(self, found: "Fingerprint") -> str | None:
        """Return in words what is other in the data that were found, None if nothing.

        Args:
            found: the fingerprint of what lies there now.
        """
        if self.digest == found.digest:
            return None
        return ", ".join(
            _classes_that_differ(self.class_names, found.class_names)
            or _parts_that_differ(self.parts, found.parts)
            or [f"there are {found.examples} examples for {self.examples}"]
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; `from_json` takes them back."""
        return {**self.summary(), "parts": dict(self.parts)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Fingerprint":
        """Return the fingerprint that `to_json` gave.

        >>> print_ = Fingerprint(1, ("cat",), {"cat/1.png": "a"})
        >>> Fingerprint.from_json(print_.to_json()) == print_
        True
        """
        names = tuple(saved["class_names"])
        return cls(saved["examples"], names, saved["parts"])


def _classes_that_differ(known: Sequence[str], found: Sequence[str]) -> list[str]:
    if list(known) == list(found):
        return []
    words = [f"class {name!r} is missing" for name in known if name not in set(found)]
    words += [f"class {name!r} is new" for name in found if name not in set(known)]
    return _few(words, "classes") or ["its classes are in another order"]


def _parts_that_differ(known: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    missing = [f"{name} is missing" for name in sorted(known.keys() - found.keys())]
    new = [f"{name} is new" for name in sorted(found.keys() - known.keys())]
    other = [
        f"{name} has another content"
        for name in sorted(known.keys() & found.keys())
        if known[name] != found[name]
    ]
    return [word for words in (missing, new, other) for word in _few(words, "others")]


def _few(words: list[str], what: str) -> list[str]:
    return words if len(words) < 3 else [f"{words[0]} (and {len(words) - 1} {what})"]


def digest_array(array: np.ndarray) -> str:
    """Return a digest of an array's type, shape and content.

    >>> digest_array(np.zeros(3)) == digest_array(np.zeros(4))
    False
    """
    content = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=8)
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def digest_files(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the digest of each of many files by its name.

    Sizes are read anew each time. Digests of contents are remembered between runs, in
    the user's cache, for as long as size and times of change stay what they were.

    Args:
        root: the folder that they are in.
        names: their paths in it.

    Returns:
        Size and digest of the content by name, in the order of the names.

    Raises:
        InputError: a file cannot be read.
    """
    cache = _cache_file(root)
    known = _remembered(cache)
    found = dict(_each(root, names, _stamp))
    changed = [name for name in names if known.get(name, [None])[:-1] != found[name]]
    contents = {name: known[name][-1] for name in names if name in known}
    contents |= _each(root, changed, _content)
    if cache is not None and changed:
        settled = time.time_ns() - UNSETTLED_SECONDS * 10**9
        # Of one folder another split may have other files.
        others = {name: known[name] for name in known.keys() - set(names)}
        entries = others | {
            name: [*found[name], contents[name]]
            for name in names
            if max(found[name][1:]) < settled
        }
        _remember(cache, entries)
    return {name: f"{found[name][0]}-{contents[name]}" for name in names}


def _each(
    root: Path, names: Sequence[str], look: Callable[[str], T]
) -> Iterator[tuple[str, T]]:
    """Yield what a look at each file says, several at a time: disks may be far away."""
    # Strings, for a Path costs more than the look.
    base = os.path.join(root, "")

    def chunk(start: int) -> list[T]:
        try:
            return [look(base + name) for name in names[start : start + CHUNK]]
        except OSError as error:
            raise FileError(error.filename or root, "read", error) from error

    with ThreadPoolExecutor() as pool:
        chunks = pool.map(chunk, range(0, len(names), CHUNK))
        yield from zip(names, itertools.chain.from_iterable(chunks), strict=True)


def _stamp(path: str) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _content(path: str) -> str:
    # The system's own calls: a file object costs as much again as a small file.
    file = os.open(path, os.O_RDONLY)
    try:
        beginning = os.read(file, WHOLE)
        content = hashlib.blake2b(beginning, digest_size=8)
        size = os.fstat(file).st_size if len(beginning) == WHOLE else 0
        for start in (size // 2, size - WINDOW) if size > WHOLE else ():
            content.update(os.pread(file, WINDOW, start))
    finally:
        os.close(file)
    return content.hexdigest()


def _cache_file(root: Path) -> Path | None:
    home = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    if not home.is_absolute():
        return None  # A user without a home, as containers have them.
    name = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=16).hexdigest()
    return home / "lars_jax" / "contents" / f"{name}.json"


def _remembered(cache: Path | None) -> dict[str, list[Any]]:
    if cache is None:
        return {}
    try:
        entries = json.loads(cache.read_text("utf-8"))
        return {name: entry for name, entry in entries.items() if len(entry) == 4}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(cache: Path, entries: dict[str, list[Any]]) -> None:
    # Without a cache all is read again, which is right and only slower.
    with contextlib.suppress(FileError):
        make_directory(cache.parent)
        with replacing(cache) as temporary:
            temporary.write_text(json.dumps(entries), encoding="utf-8")
