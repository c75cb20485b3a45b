"""What a run has kept, read back: restored, evaluated, exported."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import jax

from lars_jax.errors import FileError, InputError, naming
from lars_jax.files import local_path
from lars_jax.runs.checks import IgnoredError
from lars_jax.runs.data import Fingerprints, digests, open_data
from lars_jax.runs.directory import holds_run, read_run, saved_config
from lars_jax.runs.experiment import Experiment, Program
from lars_jax.runs.files import warn
from lars_jax.runs.paths import absolute_paths, with_data_at
from lars_jax.train import Interrupt
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.config import replace_fields
from lars_jax.train.weights import check_place, save_weights

C = TypeVar("C")

EVALUATION = "eval/"
"""What the names of an evaluation begin with among metrics."""


@dataclass(frozen=True)
class Restored(Generic[C]):
    """A checkpoint of a run, with the `Program` of its experiment and its data."""

    config: C
    program: Any
    step: int
    state: Any
    data: Fingerprints


def restore(
    experiment: Experiment[C],
    directory: Path,
    which: str = "last",
    *,
    accept_data_change: bool = False,
    data_at: Path | None = None,
    **changes: Any,
) -> Restored[C]:
    """Return the last or the best state that a run has kept.

    Where its optimizer's part fits no more, it is zeros, and a line says so.

    Args:
        experiment: what was trained.
        directory: of the run.
        which: `last` or `best`.
        accept_data_change: read it though the data are not those that it began with.
        data_at: where they lie now, if not where they did: a folder of images, or of
            data sets that TFDS has prepared.
        **changes: fields of the configuration that matter to evaluation alone.

    Raises:
        InputError: the directory holds no run or no checkpoint, or the data have
            changed.
    """
    directory = local_path(directory)
    config = config_to_evaluate(experiment, directory, data_at=data_at, **changes)
    sources, data = open_data(experiment, config, directory, accept_data_change)
    program = experiment.made(config, sources)
    step, state = read_state(directory, program, which)
    return Restored(config, program, step, state, data.found)


def config_to_evaluate(
    experiment: Experiment[C],
    directory: Path,
    *,
    data_at: Path | None = None,
    **changes: Any,
) -> C:
    """Return the configuration of a run that has a checkpoint; as `restore` takes them.

    Raises:
        InputError: the directory holds no run or no checkpoint.
    """
    directory = local_path(directory)
    config = replace_fields(load_config(experiment, directory), **changes)
    if data_at is not None:
        config = with_data_at(config, data_at)
    config = absolute_paths(config)
    with contextlib.suppress(IgnoredError):
        experiment.check(config)
    # Before data are read: without a checkpoint there is nothing to do with them.
    checkpoints = directory / "checkpoints"
    with naming(checkpoints, "read"):
        if not checkpoints.is_dir() or not os.listdir(checkpoints):
            raise _no_checkpoint(directory)
    config = experiment.to_evaluate(as_begun(experiment, config, directory))
    devices = getattr(config, "devices", None)
    if devices is not None and devices > jax.device_count():
        # Where there are fewer devices than it was trained on, those there are serve.
        config = replace_fields(config, devices=None)
    return config


def read_state(
    directory: Path, program: Program[Any], which: str = "last"
) -> tuple[int, Any]:
    """Return step and state of the last or the best checkpoint of a run.

    Where its optimizer's part fits no more, it is zeros, and a line says so.

    Args:
        directory: of the run.
        program: of the run's configuration.
        which: `last` or `best`.

    Raises:
        InputError: there is no checkpoint, or it does not fit the program.
    """
    checkpoints = open_checkpoints(local_path(directory), program)
    try:
        step = checkpoints.best_step() if which == "best" else checkpoints.last_step()
        if step is None:
            raise _no_checkpoint(directory)
        try:
            state = checkpoints.restore(step, program.like())
        except FileError:
            raise
        except InputError as error:
            # Of another optimizer, or of another version of it, than today's.
            unneeded = program.unneeded
            state = checkpoints.restore(step, program.like(), without=unneeded)
            warn(f"{error}; read without its {unneeded}, which only training needs")
    finally:
        checkpoints.close()
    return step, state


def evaluate(
    experiment: Experiment[C], directory: Path, which: str = "last", **changes: Any
) -> dict[str, float]:
    """Evaluate the last or the best checkpoint of a run; the arguments of `restore`.

    Returns:
        The numbers by name, and the `step`.
    """
    found = restore(experiment, directory, which, **changes)
    return {"step": float(found.step)} | found.program.evaluate(
        found.state, Interrupt()
    )


def export(
    experiment: Experiment[C],
    directory: Path,
    path: Path,
    which: str = "last",
    **options: Any,
) -> int:
    """Write the weights of a checkpoint to a plain file; the options of `restore`.

    It returns the step. A `.safetensors` file says in its metadata, as JSON, which
    classes the labels of each split stand for and what digest its data have, and what
    the program says of its network.

    Raises:
        InputError: the directory holds no run or no checkpoint, or the file is of
            another kind.
    """
    check_place(path)
    unneeded: dict[str, Any] = dict.fromkeys(experiment.measured_by)
    found = restore(experiment, directory, which, **options, **unneeded)
    about = {
        "step": str(found.step),
        "class_names": json.dumps(
            {k: one.class_names for k, one in found.data.items() if one.class_names}
        ),
        "data": json.dumps(digests(found.data)),
        **found.program.about(),
    }
    save_weights(path, found.program.weights(found.state), about)
    return found.step


def load_config(experiment: Experiment[C], directory: Path) -> C:
    """Return the configuration of the run in a directory.

    Raises:
        InputError: there is none, or it is of another experiment or version.
    """
    return saved_config(experiment.config, directory)


def open_checkpoints(
    directory: Path,
    program: Program[Any],
    about: Mapping[str, Any] = MappingProxyType({}),
) -> Checkpoints:
    """Return the checkpoints of a run: the last two, the best, and those kept.

    Args:
        directory: of the run.
        program: whose states they are.
        about: what those to come say of themselves.
    """

    def score(metrics: Mapping[str, float]) -> float | None:
        return program.score(own_names(metrics))

    return Checkpoints(
        directory / "checkpoints",
        best=score,
        keep_every=program.cadence.keep,
        about=about,
    )


def restore_newest(
    checkpoints: Checkpoints, like: Any, *, verbose: bool = True
) -> tuple[int, Any] | None:
    """Return step and state of the newest checkpoint that is whole; set newer aside.

    Args:
        checkpoints: of the run.
        like: a state of the same structure; see `Checkpoints.restore`.
        verbose: whether to say on standard error which were set aside, and why.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        InputError: there are checkpoints, and none is whole.
    """
    broken: dict[int, InputError] = {}
    found = None
    for step in reversed(checkpoints.steps()):
        try:
            found = step, checkpoints.restore(step, like)
            break
        except FileError:
            raise  # It may be whole all the same.
        except InputError as error:
            broken[step] = error
    if found is None and broken:
        raise next(iter(broken.values()))
    for step, error in broken.items():
        place = checkpoints.set_aside(step)
        if verbose:
            warn(f"{error}; moved it to {place}")
    return found


def as_begun(experiment: Experiment[C], config: C, directory: Path) -> C:
    """Return a configuration with what its run, if begun, has chosen for itself."""
    if not holds_run(directory):
        return config
    return experiment.freeze_auto(config, read_run(directory).get("resolved", {}))


def _no_checkpoint(directory: Path) -> InputError:
    return InputError(
        f"a run must have a checkpoint to read; {directory} has none: train it first"
    )


def own_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an evaluation among metrics, by the names that it has.

    >>> own_names({"loss": 0.5, "eval/accuracy": 0.9})
    {'accuracy': 0.9}
    """
    return {
        name.removeprefix(EVALUATION): value
        for name, value in metrics.items()
        if name.startswith(EVALUATION)
    }
