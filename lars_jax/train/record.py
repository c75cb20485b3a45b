"""The files that a run leaves: configuration, metrics, events.

A file that is whole or absent is written to a temporary name and renamed. A file that
grows is a JSON object a line, each flushed, so that what was written before a crash
can be read after it.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lars_jax.errors import InputError
from lars_jax.files import replace_file

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
    """Write a file whole: to a temporary name beside it, then rename.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> write_text(path, "kept")
    >>> path.read_text()
    'kept'
    """
    replace_file(path, text.encode())


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


class JsonLines:
    """A file of rows, one JSON object a line, that can be cut back to a step.

    Args:
        path: the file, appended to if it exists.
        keep_to: rows of later steps are removed first, for a run that goes on from an
            earlier checkpoint and will write them again.
    """

    def __init__(self, path: Path, *, keep_to: int | None = None):
        if keep_to is not None and path.exists():
            kept = [row for row in read_lines(path) if row["step"] <= keep_to]
            write_text(path, "".join(_line(row) for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row, readable by others as soon as this returns."""
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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


class Events:
    """Scalars for TensorBoard.

    Written here and now rather than by the thread of a `SummaryWriter`: it is faster
    for a few scalars a step, and a full disk is an error of the call that met it.

    Args:
        directory: where event files go.
        resumed_from: step after which earlier events no longer hold.
    """

    def __init__(self, directory: Path, *, resumed_from: int | None = None):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._writer = EventsWriter(str(directory / "events"))
        if resumed_from is not None:
            # Protobuf makes its classes on import, so type checkers know none of them.
            protos: Any = event_pb2
            log = protos.SessionLog(status=protos.SessionLog.START)
            event = protos.Event(step=resumed_from + 1, session_log=log)
            self._writer.write_event(event)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write every finite number of a row at the row's step."""
        from tensorboardX.proto import event_pb2, summary_pb2

        events: Any = event_pb2
        summaries: Any = summary_pb2
        values = [
            summaries.Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "step"
            and isinstance(value, int | float)
            and math.isfinite(value)
        ]
        summary = summaries.Summary(value=values)
        event = events.Event(step=row["step"], wall_time=time.time(), summary=summary)
        self._writer.write_event(event)

    def flush(self) -> None:
        """Make what was written readable by others."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


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


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _git_revision() -> str | None:
    """Return the revision of the checkout this file belongs to, if it is in one."""
    here = Path(__file__)
    try:
        # Installed into an environment inside some checkout, it is not part of that.
        _git("ls-files", "--error-unmatch", here.name, cwd=here.parent)
        return _git("describe", "--always", "--dirty", "--abbrev=12", cwd=here.parent)
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str, cwd: Path) -> str:
    found = subprocess.run(
        ["git", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return found.stdout.strip()
