"""The files that a run leaves: configuration, metrics, events.

A file that is whole or absent is written to a temporary name and renamed. A file that
grows is a JSON object a line, each flushed, so that what was written before a crash
can be read after it.
"""

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from lars_jax.errors import FileError, InputError, naming
from lars_jax.files import replacing

LOCK = ".lock"
"""File by which a process holds a directory; it stays there, and is empty."""

PACKAGES = ("jax", "jaxlib", "optax", "flax", "orbax-checkpoint", "numpy")


def environment() -> dict[str, Any]:
    """Return what a number depends on besides the configuration.

    Versions, device kind and count, processor count and git revision.

    >>> environment()["device_count"] >= 1
    True
    """
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "git_revision": _git_revision(),
    }


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write data as indented JSON, whole or not at all."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        InputError: it cannot be read or is not JSON.
    """
    with naming(path, "read"):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} must hold JSON; {error}: restore it or start a new run"
        ) from error


def checksums(directory: Path, pattern: str = "**/*") -> dict[str, int]:
    """Return the CRC-32 of every file in a directory, by its path there.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> write_text(place / "note.txt", "kept")
    >>> checksums(place)
    {'note.txt': 4213729798}
    """
    found = {}
    for path in filter(Path.is_file, sorted(directory.glob(pattern))):
        value = 0
        with naming(path, "read"), path.open("rb") as file:
            while block := file.read(2**20):
                value = zlib.crc32(block, value)
        found[path.relative_to(directory).as_posix()] = value
    return found


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold a directory for this process alone, for as long as the block runs.

    Where the file system has no locks, a line says that nothing is held.

    Raises:
        InputError: another process holds it, or the system refuses.
    """
    path = directory / LOCK
    with naming(path, "written"):
        file = path.open("w")
    with file:
        _lock(file, path)
        yield


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems without locks answer, as Lustre and NFS do as some mount them."""


def _lock(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"a run directory is written by one process at a time; another is at work "
            f"in {path.parent}: wait for it, or name another --run-dir"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise FileError(path, "locked", error) from error
        print(
            f"{path.parent} is on a file system without locks ({error.strerror}): see "
            "to it that nothing else writes there",
            file=sys.stderr,
        )


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a file of JSON lines, which it makes if absent."""
    with naming(path, "written"), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def cut_rows(path: Path, last: int) -> None:
    """Remove the rows of steps after the last, and what a crash cut short.

    For a run that goes on from an earlier checkpoint, and will write them again.
    """
    if path.exists():
        kept = [row for row in read_rows(path) if row["step"] <= last]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of metrics or layers: each has a step, and numbers beside it.

    Raises:
        InputError: as `read_lines`, or a row has something else.
    """
    for number, row in enumerate(read_lines(path), start=1):
        layers = row.get("layers", {})
        tables = [{**row, "layers": 0}]
        tables += layers.values() if isinstance(layers, dict) else [layers]
        if not isinstance(row.get("step"), int) or not all(map(_is_numbers, tables)):
            raise InputError(
                f"{path} must hold rows of a step and its numbers; row {number} does "
                "not: remove that row"
            )
        yield row


def _is_numbers(table: Any) -> bool:
    return isinstance(table, dict) and all(
        isinstance(value, int | float) for value in table.values()
    )


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of JSON lines.

    A last line that a crash cut short is left out; an absent file has no rows.

    Raises:
        InputError: it cannot be read, or a line before the last is no JSON object.
    """
    try:
        with naming(path, "read"):
            lines = path.read_bytes().splitlines()
    except FileError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    for number, line in enumerate(lines, start=1):
        row = None
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
        if not isinstance(row, dict):
            if number == len(lines):
                return
            raise InputError(
                f"{path} must hold a JSON object a line; line {number} does not: "
                "remove that line"
            )
        yield row


def plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars of a dictionary of arrays, as Python numbers.

    >>> import numpy as np
    >>> plain({"loss": np.float32(0.5), "norms": np.zeros((2, 3))})
    {'loss': 0.5}
    """
    return {
        name: np.asarray(value).item()
        for name, value in metrics.items()
        if np.ndim(value) == 0
    }


def _git_revision() -> str | None:
    """Return the revision of the checkout this file belongs to, if it is in one."""
    here = Path(__file__)
    git = partial(
        subprocess.run,
        cwd=here.parent,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    try:
        # Installed into an environment inside some checkout, it is not part of that.
        git(["git", "ls-files", "--error-unmatch", here.name])
        found = git(["git", "describe", "--always", "--dirty", "--abbrev=12"])
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
