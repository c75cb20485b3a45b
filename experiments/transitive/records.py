"""What came of each of many videos, file by file, so that work can go on where it was.

Of each video a stage writes files of its own, and at the end a small record that says
that they are whole. What is whole is not made again. Nothing in a file depends on how
many processes there were, or on when.
"""

import io
import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.beam import POOL, Runner, run_on_beam
from experiments.transitive.pool import Work, run_jobs
from experiments.transitive.video import VideoError, opencv
from lars_jax.data.arrays import usable_cores
from lars_jax.errors import InputError, naming
from lars_jax.files import make_directory, replacing
from lars_jax.train import Interrupt
from lars_jax.train.config import digest
from lars_jax.train.record import read_json, write_json

SHARDS = "shards"
"""Folder of the files of each video; they are named by its number."""

MANIFEST = "videos.json"
CRASHED = "decoding it ended the process"

Record = dict[str, Any]
"""What came of a video: its `number`, its path `video`, `frames` that were read,
`counts` by outcome, `reason` if it was passed over, `note` if its end was missing, and
the CRC-32 of its `files` by suffix."""


@dataclass(frozen=True)
class Job:
    """What a stage does with one video.

    Attributes:
        number: of the video.
        name: its path in the folder of videos.
        path: where it is.
        shards: folder of what is written.
        settings: digest of all that its files depend on.
        boxes: number of the frame, left and top of each box to follow.
    """

    number: int
    name: str
    path: Path
    shards: Path
    settings: str
    boxes: tuple[tuple[int, int, int], ...] = ()

    def file(self, suffix: str) -> Path:
        """Return the path of the file of this video with a suffix."""
        return self.shards / f"{self.number:06d}{suffix}"


def read_records(directory: Path) -> list[Record]:
    """Return the record of every video of a stage."""
    return read_json(directory / MANIFEST)


def counts(records: Sequence[Record]) -> dict[str, int]:
    """Return how often each outcome came over all videos."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record["counts"])
    return dict(total)


def passed_over(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the videos that were passed over, by reason.

    >>> passed_over([{"video": "a.avi", "reason": "empty file"}])
    {'empty file': ['a.avi']}
    """
    found: dict[str, list[str]] = {}
    for record in records:
        if record["reason"]:
            found.setdefault(record["reason"], []).append(record["video"])
    return found


def settings_digest(settings: Mapping[str, Any], path: Path) -> str:
    """Digest what a shard depends on; of the video, its size stands for its content."""
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    return digest({**settings, "bytes": size})


def run_videos(
    work: Work[Job, Record],
    jobs: Sequence[Job],
    directory: Path,
    title: str,
    processes: int | None,
    interrupt: Interrupt | None,
    runner: Runner,
) -> list[Record]:
    """Return the record of every job; what is not whole in the directory is made.

    Args:
        work: makes and finishes the files of a job, and returns its record.
        jobs: one for each video.
        directory: of the stage.
        title: what the progress is called.
        processes: how many work at a time; None: one for each processor.
        interrupt: ends the work on a signal.
        runner: does the jobs.

    Raises:
        InputError: files cannot be written, or the runner has given up.
        Interrupted: a signal came.
    """
    make_directory(directory / SHARDS)
    known = {job.number: _whole(job) for job in jobs}
    todo = [job for job in jobs if known[job.number] is None]
    settings: Any = {
        "processes": processes or usable_cores(most=sys.maxsize),
        "interrupt": interrupt or Interrupt(),
        "crashed": _crashed,
        "title": title,
        "amount": lambda record: record["frames"],
    }
    if runner.name == POOL:
        made = run_jobs(work, todo, **settings)
    else:
        made = _on_beam(work, todo, directory / SHARDS / "jobs", runner, settings)
    fresh = {job.number: record for job, record in zip(todo, made, strict=True)}
    records = [known[job.number] or fresh[job.number] for job in jobs]
    _tidy(jobs, records)
    return [{k: v for k, v in r.items() if k != "settings"} for r in records]


def _on_beam(
    work: Work[Job, Record],
    jobs: Sequence[Job],
    listing: Path,
    runner: Runner,
    settings: Any,
) -> list[Record]:
    if not jobs:
        return []
    # Workers may have another working directory.
    jobs = [
        replace(job, path=job.path.absolute(), shards=job.shards.absolute())
        for job in jobs
    ]
    for job in jobs:
        # What is there afterwards has been made by this run, wherever.
        with naming(job.file(".json"), "written"):
            job.file(".json").unlink(missing_ok=True)
    run_on_beam(work, jobs, listing.absolute(), runner=runner, **settings)
    missing = [job for job in jobs if not job.file(".json").exists()]
    if missing:
        raise InputError(
            f"workers must write where this process reads; {len(missing)} of "
            f"{len(jobs)} records are missing, such as {missing[0].file('.json')}: "
            "give them the same file system under the same path"
        )
    return [read_json(job.file(".json")) for job in jobs]


def _tidy(jobs: Sequence[Job], records: Sequence[Record]) -> None:
    """Remove what is of no record, such as files that a killed process began."""
    names = {
        job.file(suffix).name
        for job, record in zip(jobs, records, strict=True)
        for suffix in (".json", *record["files"])
    }
    for folder in {job.shards for job in jobs}:
        for path in sorted(folder.iterdir()):
            if path.name not in names:
                with naming(path, "written"):
                    path.unlink()


def _whole(job: Job) -> Record | None:
    """Return the record of a job that was done before, None if it must be done."""
    path = job.file(".json")
    if not path.exists():
        return None
    try:
        record = read_json(path)
        same = record["video"] == job.name and record["settings"] == job.settings
        # One that was passed over is tried again: its disk may be back.
        if same and not record["reason"]:
            files = record["files"].items()
            if all(_crc(job.file(suffix)) == crc for suffix, crc in files):
                return record
    except (InputError, KeyError, TypeError, AttributeError):
        pass  # Damaged, it says nothing: the shard is made again.
    return None


def _crc(path: Path) -> int:
    with naming(path, "read"):
        return zlib.crc32(path.read_bytes())


def make_record(job: Job, **found: Any) -> Record:
    """Return the record of a job with what was found, and defaults for the rest."""
    return {
        "number": job.number,
        "video": job.name,
        "frames": 0,
        "counts": {},
        "reason": None,
        "note": None,
        "files": {},
        "settings": job.settings,
    } | found


def _crashed(job: Job) -> Record:
    return finish(job, make_record(job, reason=CRASHED), {})


def finish(job: Job, record: Record, files: Mapping[str, bytes]) -> Record:
    """Write the files of a job by suffix, then its record, and return that."""
    for suffix, content in files.items():
        with replacing(job.file(suffix)) as temporary:
            temporary.write_bytes(content)
        record["files"][suffix] = zlib.crc32(content)
    write_json(job.file(".json"), record)
    return record


def finish_unusable(job: Job, error: Exception) -> Record:
    """Return the record of a video that cannot be used; other errors are raised."""
    if isinstance(error, VideoError):
        return finish(job, make_record(job, reason=str(error)), {})
    if isinstance(error, opencv().error | MemoryError):
        why = " ".join(str(error).split())[:200]
        return finish(job, make_record(job, reason=f"OpenCV cannot use it: {why}"), {})
    raise error


def require_some(
    records: Sequence[Record], wanted: str, rule: str, remedy: str
) -> None:
    """Refuse to go on with nothing, and say which rule took it.

    Args:
        records: of every video.
        wanted: the outcome that there must be.
        rule: that they were kept by; where none could be used it was not that.
        remedy: what lets it keep more.

    Raises:
        InputError: no record has the outcome.
    """
    found = counts(records)
    if found.get(wanted):
        return
    if records and all(record["reason"] for record in records):
        rule = "videos must be such as can be read and followed"
        remedy = "name a folder with others"
    taken = [f"{n} {name}" for name, n in found.items() if n]
    taken += [f"{len(v)} videos: {why}" for why, v in passed_over(records).items()]
    raise InputError(
        f"{rule}; got none of {len(records)} videos ({', '.join(taken) or 'nothing'}): "
        f"{remedy}"
    )


def count_outcomes(outcomes: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """Return how often each outcome came, by its name.

    >>> count_outcomes(np.array([1, 1]), ("kept", "cut"))
    {'kept': 0, 'cut': 2}
    """
    numbers = np.bincount(outcomes, minlength=len(names))
    return dict(zip(names, numbers.tolist(), strict=True))


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def load_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file.

    Args:
        path: of the file.
        mapped: leave it on disk, and read what is used of it.

    Raises:
        InputError: it is missing, or not whole.
    """
    try:
        with naming(path, "read"):
            return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except InputError:
        raise
    except (ValueError, EOFError) as error:
        raise InputError(
            f"an array must be a whole .npy file; {path} is not ({error}): run its "
            "stage again"
        ) from error
