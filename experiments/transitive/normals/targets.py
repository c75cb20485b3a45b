"""Photographs with a normal at each pixel, at the size of the network.

Normals are made from depth once, a frame in a third of a second, and kept in the user's
cache, by the bytes of the files and by the size.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.eth80 import DAMAGE
from experiments.transitive.normals.camera import KINECT, resized_camera
from experiments.transitive.normals.config import DataConfig
from experiments.transitive.normals.depth import surface_normals
from experiments.transitive.normals.nyu import (
    Frames,
    archives,
    frame_mask,
    read_nyu,
)
from experiments.transitive.normals.nyu_mat import open_mat, read_split
from experiments.transitive.pool import Check, run_jobs
from lars_jax.errors import InputError, naming
from lars_jax.files import cache_directory, make_directory, replacing
from lars_jax.train.interrupt import NEVER

VERSION = 1
"""Of what the files hold; another one has them made anew."""

LEAST_VALID = 0.5
"""Share of the pixels of a smaller one that must have a normal."""

PART = 16
"""Frames that are worth a process of their own."""


@dataclass(frozen=True)
class _Job:
    """A frame by its place in a split; the digest is of the files that it is in."""

    config: DataConfig
    split: str
    digest: str
    place: int


@dataclass(frozen=True)
class Targets:
    """What a network of normals is trained on, or evaluated by.

    Attributes:
        image: uint8 [N, H, W, 3].
        normals: float16 [N, H, W, 3], unit vectors; 0 where there is none.
        valid: bool [N, H, W].
    """

    image: np.ndarray
    normals: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.image)


NO_TARGETS = Targets(
    np.empty((0, 1, 1, 3), np.uint8),
    np.empty((0, 1, 1, 3), np.float16),
    np.empty((0, 1, 1), bool),
)
"""Of a network that is neither trained nor evaluated."""


def load_targets(config: DataConfig) -> tuple[Targets, Targets]:
    """Return the frames to train on, and those to evaluate.

    Raises:
        InputError: what the reader of the file refuses, a frame that is of both, or a
            size that is no whole part of the frames'.
    """
    names = (config.train_split, config.test_split)
    train, test = (_open(config, name) for name in names)
    both = np.intersect1d(train.index, test.index)
    if len(both):
        raise InputError(
            f"a test is of frames that were not trained on; got {names[0]} and "
            f"{names[1]} of {config.frames}, which share {len(both)}, such as frame "
            f"{both[0]}: set --train-split or --test-split to others"
        )
    digest = ",".join(f"{file.name}:{_digest(file)}" for file in _files(config))
    first, second = names
    return _load(config, first, train, digest), _load(config, second, test, digest)


def _load(config: DataConfig, split: str, frames: Frames, digest: str) -> Targets:
    size = (config.height, config.length)
    name = hashlib.sha256(f"{VERSION} {digest} {split} {size}".encode()).hexdigest()
    path = cache_directory() / "normals" / f"{name[:40]}.npz"
    kept = _read(path) if path.exists() else None
    if kept is not None:
        return kept
    made = _make([_Job(config, split, digest, k) for k in range(len(frames))])
    make_directory(path.parent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, image=made.image, normals=made.normals, valid=made.valid)
    return made


def _read(path: Path) -> Targets | None:
    """Return what a file has kept; None of one that is damaged, and made anew."""
    with naming(path, "read"), path.open("rb") as file:
        try:
            with np.lib.npyio.NpzFile(file) as found:
                return Targets(found["image"], found["normals"], found["valid"])
        except (*DAMAGE, KeyError):
            return None


def shrink(
    normals: np.ndarray, valid: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normals of larger pixels: of those within one the mean direction.

    Args:
        normals: float [H, W, 3].
        valid: bool [H, W].
        size: height and width, each a whole part of H and of W.

    Returns:
        float32 [h, w, 3] and bool [h, w], where half of the pixels had a normal and
        these do not cancel out.

    >>> normals = np.float32([[[0, 0, -1], [0, -0.6, -0.8]]])
    >>> shrink(normals, np.array([[True, False]]), (1, 1))[0].tolist()
    [[[0.0, 0.0, -1.0]]]
    """
    rows, columns = normals.shape[0] // size[0], normals.shape[1] // size[1]
    parts = np.where(valid[..., None], normals, 0.0).astype(np.float64)
    total = parts.reshape(size[0], rows, size[1], columns, 3).sum(axis=(1, 3))
    share = valid.reshape(size[0], rows, size[1], columns).mean(axis=(1, 3))
    length = np.linalg.norm(total, axis=-1)
    known = (share >= LEAST_VALID) & (length > 1e-3)
    unit = np.where(known[..., None], total / np.maximum(length, 1e-3)[..., None], 0.0)
    return unit.astype(np.float32), known


def _files(config: DataConfig) -> list[Path]:
    if config.splits is None:
        return archives(Path(config.frames))
    return [Path(config.frames), Path(config.splits)]


def _open(config: DataConfig, split: str) -> Frames:
    path = Path(config.frames)
    if config.splits is None:
        frames = read_nyu(path, split)
    else:
        frames = open_mat(path, read_split(config.splits, split))
    _check_size(config, frames[0].depth.shape)
    return frames


def _check_size(config: DataConfig, shape: tuple[int, ...]) -> None:
    for name, side, whole in zip(
        ("height", "length"), (config.height, config.length), shape, strict=True
    ):
        if whole % side or whole // side < 1:
            raise InputError(
                f"{name} must be a whole part of every frame's; got {side} of {whole} "
                f"in {config.frames}: set --{name} to {whole}, {whole // 2} or the like"
            )


def _digest(path: Path) -> str:
    with naming(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(jobs: Sequence[_Job]) -> Targets:
    made = run_jobs(
        _target,
        jobs,
        processes=min(os.cpu_count() or 1, -(-len(jobs) // PART)),
        # The shell gives up what is built when a signal comes.
        interrupt=NEVER,
        crashed=_crashed,
        title="normals",
    )
    image, normals, valid = map(np.stack, zip(*made, strict=True))
    return Targets(image, normals, valid)


def _target(job: _Job, check: Check) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from PIL import Image

    check()
    config, frames = job.config, _kept_open(job.config, job.split, job.digest)
    frame, (height, width) = frames[job.place], (config.height, config.length)
    whole = frame.depth.shape
    _check_size(config, whole)
    camera = resized_camera(KINECT, *whole)
    found, valid = surface_normals(frame.depth, camera, step=frames.step)
    unit, known = shrink(found, valid & frame_mask(*whole), (height, width))
    picture = Image.fromarray(frame.image)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized), unit.astype(np.float16), known


@lru_cache(maxsize=1)
def _kept_open(config: DataConfig, split: str, digest: str) -> Frames:
    """Return the frames of a split, whose files a process need not read for each."""
    del digest
    return _open(config, split)


def _crashed(job: _Job) -> Any:
    raise InputError(
        f"normals are made of each frame; got {job.config.frames}, whose frame "
        f"{job.place} of {job.split} ended the process: allow it more memory"
    )
