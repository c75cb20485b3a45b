"""The directory of a run: its name, whose it is, and whether a run goes on there."""

import contextlib
import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from lars_jax.errors import InputError, naming
from lars_jax.files import local_path, make_directory
from lars_jax.runs.paths import absolute_paths, with_data_at
from lars_jax.train.config import difference, from_json, to_json
from lars_jax.train.processes import on_first
from lars_jax.train.record import LOCK, environment, read_json, write_json

C = TypeVar("C")

Resume = Literal["no", "yes", "if_any"]
"""Whether to go on with the run in a directory; `if_any`: if there is one."""

LEFT = ("checkpoints", "metrics.jsonl")
"""What a run leaves beside its `config.json`."""


@contextlib.contextmanager
def run_directory(asked: Path | None, name: str) -> Iterator[Path]:
    """Yield the directory that was asked for, or a new one of its own under `runs/`.

    Args:
        asked: None: a dated one, which goes away again if nothing is written there.
        name: what a new one is called besides its date.
    """
    if asked is not None:
        yield asked
        return
    directory = Path(on_first(lambda: str(_make_dated(name))))
    try:
        yield directory
    finally:
        # Only where it is empty, but for the lock of what was refused.
        with contextlib.suppress(OSError):
            if [path.name for path in directory.iterdir()] == [LOCK]:
                (directory / LOCK).unlink()
            directory.rmdir()
            directory.parent.rmdir()


def _make_dated(name: str) -> Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"-{number}"
        directory = Path("runs") / f"{now}-{name}{suffix}"
        # Another run that starts in the same second may have that name.
        with naming(directory, "written"), contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            return directory
    raise AssertionError("there is always another number")


def holds_run(directory: Path) -> bool:
    """Return whether a directory, which need not exist, has a run's `config.json`."""
    path = directory / "config.json"
    with naming(path, "read"):
        return path.exists()


def saved_config(kind: type[C], directory: Path) -> C:
    """Return the configuration that a run directory holds.

    Args:
        kind: the dataclass that it is of.
        directory: of the run.

    Raises:
        InputError: there is none, or it is of another experiment or version.
    """
    directory = local_path(directory)
    record = read_run(directory)
    try:
        return from_json(kind, record["config"])
    except InputError as error:
        raise InputError(f"{error}; it is in {directory}/config.json") from error


def can_resume(
    config: Any, directory: Path, resume: Resume, *, placement: Sequence[str]
) -> bool:
    """Return whether the directory holds this run, to go on with.

    Args:
        config: what is asked for, a dataclass.
        directory: the run directory, which need not exist.
        resume: what to do with a run that it holds.
        placement: fields at the top of a configuration that may change when a run goes
            on: they say where it runs, and change no number.

    Raises:
        InputError: it holds another run, or this one and it was not asked to go on, or
            none and it was.

    >>> from dataclasses import make_dataclass
    >>> config = make_dataclass("Config", [("seed", int)])(0)
    >>> can_resume(config, Path("nowhere"), "if_any", placement=())
    False
    """
    if not holds_run(directory):
        if resume == "yes":
            raise InputError(
                f"--resume needs a run to go on with; {directory} has no config.json: "
                "leave --resume out, or name another --run-dir"
            )
        for name in LEFT:
            if (directory / name).exists():
                raise InputError(
                    f"a run begins where no other has been; {directory} has {name} and "
                    "no config.json: name another --run-dir, or put it back"
                )
        return False
    # Through the dataclass, so that a field which is newer than the run is no change.
    found = saved_config(type(config), directory)
    # Of a run of before, relative paths lead where they do from here; and data, which
    # are known by their digest, may have been moved.
    found = to_json(with_data_at(absolute_paths(found), ""))
    # Those that may change are taken from the run.
    asked = to_json(with_data_at(config, ""))
    asked |= {name: found[name] for name in placement if name in found}
    changes = difference(found, asked)
    if changes:
        raise InputError(
            f"a run directory holds one configuration; in {directory} "
            f"{'; '.join(changes)}: undo the change, or name another --run-dir"
        )
    if resume == "no":
        raise InputError(
            f"a run directory is written once; {directory} already holds this run: "
            "add --resume to go on, or name another --run-dir"
        )
    return True


def create_run_directory(directory: Path, record: Mapping[str, Any]) -> None:
    """Make a run's directory and write its `config.json`.

    Args:
        directory: the run directory.
        record: preset, digest and configuration, to which the environment is added.

    Raises:
        InputError: another run has begun there.
    """
    if holds_run(directory):
        raise InputError(
            f"a run directory is written once; another run has begun in {directory} "
            "meanwhile: name another --run-dir"
        )
    write_record(directory, record)


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write `config.json`, whether or not there is one, with the environment."""
    make_directory(directory)
    write_json(directory / "config.json", {**record, "environment": environment()})


def read_run(directory: Path) -> dict[str, Any]:
    """Return what `config.json` of a run holds: preset, configuration, environment.

    Raises:
        InputError: there is no such file, or it is not that of a run.
    """
    directory = local_path(directory)
    path = directory / "config.json"
    if not holds_run(directory):
        raise InputError(
            f"a run directory has a config.json; {directory} has none: name one that "
            "`train` has written"
        )
    record = read_json(path)
    if not _is_record(record):
        raise InputError(
            f"{path} must hold the configuration of a run; it does not: name a "
            "directory that `train` has written"
        )
    return record


def _is_record(record: Any) -> bool:
    needed = {"preset", "config", "environment"}
    if not isinstance(record, dict) or not needed <= record.keys():
        return False
    data = record.get("data", {})
    sections = [record["config"], record.get("resolved", {}), data]
    return all(isinstance(section, dict) for section in sections) and all(
        isinstance(one, dict) and {"examples", "class_names", "digest"} <= one.keys()
        for one in data.values()
    )
