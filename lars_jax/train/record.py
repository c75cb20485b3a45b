"""The files that a run leaves: configuration, metrics, events.

A file that is whole or absent is written to a temporary name and renamed. A file that
grows is a JSON object a line, each flushed, so that what was written before a crash
can be read after it.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lars_jax.errors import InputError
from lars_jax.files import replacing

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
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} must be readable; {error.strerror}: name a run directory that "
            "`train` has written"
        ) from error
    except ValueError as error:
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
        with path.open("rb") as file:
            while block := file.read(2**20):
                value = zlib.crc32(block, value)
        found[path.relative_to(directory).as_posix()] = value
    return found


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold a directory for this process alone, for as long as the block runs.

    Raises:
        InputError: another process holds it.
    """
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"a run directory is written by one process at a time; another is at "
                f"work in {directory}: wait for it, or name another --run-dir"
            ) from error
        yield


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a file of JSON lines, which it makes if absent."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def cut_rows(path: Path, last: int) -> None:
    """Remove the rows of steps after the last, and what a crash cut short.

    For a run that goes on from an earlier checkpoint, and will write them again.
    """
    if path.exists():
        kept = [row for row in read_lines(path) if row["step"] <= last]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of JSON lines.

    A last line that a crash cut short is left out; an absent file has no rows.

    Raises:
        InputError: a line before the last is not JSON.
    """
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise InputError(
                f"{path} must hold a JSON object a line; line {number} does not: "
                "remove that line"
            ) from error


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
