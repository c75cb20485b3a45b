"""What a run remembers of its data, and what becomes of a run whose data are others."""

import contextlib
import gzip
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lars_jax.data.fingerprint import Fingerprint
from lars_jax.data.source import identify
from lars_jax.errors import InputError
from lars_jax.files import make_directory, replacing
from lars_jax.runs.directory import read_run
from lars_jax.runs.experiment import Experiment, Sources
from lars_jax.runs.files import warn
from lars_jax.runs.paths import absolute_paths
from lars_jax.train.config import from_json
from lars_jax.train.processes import is_first
from lars_jax.train.record import read_lines, write_json

Fingerprints = Mapping[str, Fingerprint]

MOST_LISTED = 20
"""Classes that are listed at a start, half of them from each end."""

FILE = "data.json.gz"
"""Digests of all parts of each split, beside `config.json`, which has one of each."""


@dataclass(frozen=True)
class RunData:
    """What is known of a run's data.

    Attributes:
        found: what each split is known by.
        lines: what a user is told of them.
        change: how they differ from those that the run began with, if accepted.
    """

    found: Fingerprints
    lines: tuple[str, ...]
    change: str | None = None


def open_data(
    experiment: Experiment[Any], config: Any, begun: Path | None, accept: bool
) -> tuple[Sources, RunData]:
    """Open the data of a run, the same on all processes.

    Args:
        experiment: of the run.
        config: of the run.
        begun: its directory, if it goes on or is read.
        accept: whether other data than those that it began with are accepted.

    Raises:
        InputError: processes see different data, or the data have changed.
    """
    sources: Sources = {}
    found: dict[str, Fingerprint] = {}
    error = None
    try:
        sources = experiment.sources(config)
        found = {split: identify(source) for split, source in sources.items()}
        for name, files in experiment.files(config).items():
            files = [files] if isinstance(files, Path) else files
            found[name] = Fingerprint.of_files(files)
    except InputError as problem:
        error = problem
    if jax.process_count() > 1:
        _require_equal(found, error)
    if error is not None:
        raise error
    change = None
    if begun is not None:
        record = _comparable(experiment, config, read_run(begun))
        change = accept_data(begun, record, found, accept=accept)
    lines = (*describe_data(sources), *_same_splits(found))
    return sources, RunData(found, lines, change)


def warn_of_change(experiment: Experiment[Any], directory: Path) -> None:
    """Say in a line whether the data of a run, where they can be had, have changed."""
    record = read_run(directory)
    if "data" not in record:
        return
    config = absolute_paths(from_json(experiment.config, record["config"]))
    with contextlib.suppress(InputError):  # They need not be on this machine.
        found = open_data(experiment, config, None, accept=False)[1].found
        if change := data_change(directory, record, found):
            warn(f"the data are no more those that {directory} is of: {change}")


def data_rows(directory: Path) -> dict[str, str]:
    """Return what a report says of the data of a run, by what each is called."""
    rows = {}
    for split, one in read_run(directory).get("data", {}).items():
        classes = f", {len(one['class_names'])} classes" if one["class_names"] else ""
        rows[f"data: {split}"] = (
            f"{one['examples']:,} examples{classes}, digest {one['digest'][:12]}"
        )
    for attempt in read_lines(directory / "attempts.jsonl"):
        if change := attempt.get("data_change"):
            rows[f"data changed at step {attempt.get('step')}"] = change
    return rows


def _comparable(
    experiment: Experiment[Any], config: Any, record: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return a run's record without files in whose place others are asked for."""
    if "data" not in record:
        return record
    before = absolute_paths(from_json(experiment.config, record["config"]))
    known, asked = experiment.files(before), experiment.files(config)
    data = {
        name: one
        for name, one in record["data"].items()
        if known.get(name) == asked.get(name)
    }
    return {**record, "data": data}


def summaries(found: Fingerprints) -> dict[str, Any]:
    """Return what `config.json` keeps of each split: size, classes and digest."""
    return {split: one.summary() for split, one in found.items()}


def describe_data(sources: Sources) -> Iterator[str]:
    """Yield the classes of the data by number and name, and what sources have to say.

    >>> from lars_jax.data import digits_source
    >>> list(describe_data({"test": digits_source("test")}))[0][:30]
    'classes: 0 0, 1 1, 2 2, 3 3, 4'
    """
    for names in dict.fromkeys(source.class_names for source in sources.values()):
        if len(names) > 1:
            listed = [f"{k} {name}" for k, name in enumerate(names)]
            if len(listed) > MOST_LISTED:
                listed[MOST_LISTED // 2 : -MOST_LISTED // 2] = ["..."]
            yield f"classes: {', '.join(listed)}"
    for source in sources.values():
        yield from getattr(source, "notes", ())


def _same_splits(found: Fingerprints) -> Iterator[str]:
    for one, other in itertools.combinations(found, 2):
        if found[one].digest == found[other].digest:
            yield f"{one} and {other} are the same data"


def digests(found: Fingerprints) -> dict[str, str]:
    """Return the digest of each split."""
    return {split: one.digest for split, one in found.items()}


def write_parts(directory: Path, found: Fingerprints) -> None:
    """Write the digests of all parts, before the record that sums them up."""
    text = json.dumps({split: one.to_json() for split, one in found.items()})
    make_directory(directory)
    with replacing(directory / FILE) as file:
        file.write_bytes(gzip.compress(text.encode(), mtime=0))


def write_data(directory: Path, record: Mapping[str, Any], found: Fingerprints) -> None:
    """Write down the data that a run goes on with, in its record."""
    write_parts(directory, found)
    write_json(directory / "config.json", {**record, "data": summaries(found)})


def accept_data(
    directory: Path, record: Mapping[str, Any], found: Fingerprints, *, accept: bool
) -> str | None:
    """Return in words how the data of a run have changed, if that is accepted.

    Args:
        directory: of the run.
        record: its `config.json`.
        found: its data as they are now.
        accept: whether a change is deliberate.

    Returns:
        None where they are the same, or where the run is older than this memory.

    Raises:
        InputError: they have changed, and that is not accepted.
    """
    if "data" not in record:
        if found and is_first():
            warn(
                "this run was begun before runs remembered their data; nothing tells "
                "whether they are still the same"
            )
        return None
    change = data_change(directory, record, found)
    if change and not accept:
        raise InputError(
            f"a run must keep the data that it began with; of {directory} {change}: "
            "put them back, or add --accept-data-change"
        )
    return change


def data_change(
    directory: Path, record: Mapping[str, Any], found: Fingerprints
) -> str | None:
    """Return in words how the data differ from those that a run began with.

    Args:
        directory: of the run.
        record: its `config.json`.
        found: the data as they are now.

    Returns:
        None where they are the same.
    """
    known = record["data"]
    splits = [split for split in known if split not in found]
    words = [f"{split}: it is not read any more" for split in splits]
    listed = _listed(directory)
    for split in sorted(known.keys() & found.keys()):
        if known[split]["digest"] != found[split].digest:
            before = listed.get(split)
            change = before.difference(found[split]) if before else None
            words.append(f"{split}: {change or 'another digest'}")
    return "; ".join(words) or None


def _listed(directory: Path) -> dict[str, Fingerprint]:
    try:
        return _from_json(json.loads(gzip.decompress((directory / FILE).read_bytes())))
    # Without the list a change is refused all the same, and only not named.
    except Exception:
        return {}


def _require_equal(found: Fingerprints, error: InputError | None) -> None:
    """Raise the same error on all processes unless all have come to the same."""
    data = {split: one.to_json() for split, one in found.items()}
    packed = gzip.compress(json.dumps([data, error and str(error)]).encode(), mtime=0)
    mine = np.frombuffer(hashlib.sha256(packed).digest(), np.uint8)
    digests = [bytes(row) for row in multihost_utils.process_allgather(mine)]
    usual = digests.index(Counter(digests).most_common(1)[0][0])
    odd = [k for k, digest in enumerate(digests) if digest != digests[usual]]
    if not odd:
        return
    # Rarely needed, and then worth its size: what is other in which file.
    sizes = multihost_utils.process_allgather(np.int32(len(packed)))
    padded = np.frombuffer(packed.ljust(max(sizes), b"\0"), np.uint8)
    rows = multihost_utils.process_allgather(padded)
    (expected, failed), (other, failed_there) = (
        json.loads(gzip.decompress(bytes(rows[k][: sizes[k]]))) for k in (usual, odd[0])
    )
    if failed_there or failed:
        words = [f"{failed_there or f'they can be read, and there: {failed}'}"]
    else:
        known, there = map(_from_json, (expected, other))
        words = [
            f"{split}: {known[split].difference(one)}"
            for split, one in there.items()
            if one.digest != known[split].digest
        ]
    raise InputError(
        f"all processes must see the same data; on process {odd[0]}, other than on "
        f"process {usual}, {'; '.join(words)}: give them one copy"
    )


def _from_json(saved: Any) -> dict[str, Fingerprint]:
    return {split: Fingerprint.from_json(one) for split, one in saved.items()}
