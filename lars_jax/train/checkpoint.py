"""Save and restore a tree of arrays; the only module that knows Orbax.

Orbax writes asynchronously, to a temporary name that it renames when all is on disk;
every process writes and reads the shards of its own devices, and nothing is gathered.
Orbax restores a flipped byte without a word, and of a file that it cannot read at all
it abandons its other reads, which then print tracebacks from threads of their own. So
every file has a checksum, and Orbax is given none that differs.
"""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from lars_jax.errors import FileError, InputError, naming
from lars_jax.train.processes import is_first, on_first
from lars_jax.train.record import checksums

FORMATS = (3, 4)
"""Versions of what a checkpoint holds that can be read; the last is written.

Version 3 has a checksum of every leaf beside those of the files.
"""

CONTENTS = "contents.json"
"""Beside the arrays of a checkpoint: its metrics, its leaves, checksums of its files.

Not one of Orbax's items, so that one process can read it while others do not.
"""


_WAY_OUT = "train --resume sets it aside and goes on from an older one"
_unraisable = sys.unraisablehook


def _hush(unraisable: Any) -> None:
    # Writes that come back after another of their save has failed find its loop closed,
    # and would each print a traceback beside the one line that says what failed.
    if str(unraisable.exc_value) != "Event loop is closed":
        _unraisable(unraisable)


class Checkpoints:
    """The checkpoints of one run: the last, the one before it, and the best.

    The one before the last is there to fall back on, should the last be damaged.

    Args:
        directory: where they lie; made if absent.
        best: from the metrics of a checkpoint to its score; the one with the highest is
            kept. None: it has no score.
        keep_every: steps between checkpoints that are kept for good, where one is
            saved; None: no others are kept.
        about: what each says of itself beside its state, as JSON has it.

    Several processes open, save and restore the same ones together: each writes what
    its devices hold, and what the first finds broken is broken for all.
    """

    def __init__(
        self,
        directory: Path,
        *,
        best: Callable[[Mapping[str, float]], float | None],
        keep_every: int | None = None,
        about: Mapping[str, Any] = MappingProxyType({}),
    ):
        # Orbax logs every save, and errors with their traceback that it raises as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        sys.unraisablehook = _hush
        self._best = best
        self._about = dict(about)
        policies: list[preservation_policy.PreservationPolicy] = [
            preservation_policy.LatestN(2),
            preservation_policy.BestN(get_metric_fn=self._score, n=1),
        ]
        if keep_every is not None:
            policies.append(preservation_policy.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            # Without it Orbax writes no metrics down, and keeps for good what an
            # earlier start has saved, whose scores it cannot know.
            best_fn=self._score,
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            enable_async_checkpointing=True,
            async_options=ocp.AsyncOptions(
                post_finalization_callback=self._write_contents
            ),
        )
        self._directory = directory.absolute()
        self._unnamed: dict[int, dict[str, Any]] = {}
        with self._disk_errors():
            if self._directory.exists() and not self._directory.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._manager = ocp.CheckpointManager(self._directory, options=options)

    def steps(self) -> list[int]:
        """Return the steps that have a complete checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def last_step(self) -> int | None:
        """Return the last step that has a checkpoint."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Return the step whose checkpoint has the best metric; failing one, the last.

        Ties go to the later step.
        """
        scores = {step: self._score(self.metrics(step)) for step in self.steps()}
        return max(scores, key=lambda step: (scores[step], step), default=None)

    def metrics(self, step: int) -> dict[str, float]:
        """Return the metrics that were saved with a step."""
        return self._contents(step)["metrics"]

    def drop(self, step: int) -> None:
        """Remove the checkpoint of a step, so that it can be saved anew."""
        self.wait()
        with self._disk_errors():
            self._manager.delete(step)

    def save(self, step: int, state: Any, metrics: Mapping[str, float]) -> None:
        """Start to save the state after `step`; returns before it is on disk.

        A checkpoint of the same step is left as it is: the same step of the same run
        holds the same bits.
        """
        if step in self._manager.all_steps():
            return
        if is_first():
            self._unnamed[step] = {
                "format": FORMATS[-1],
                "step": step,
                "metrics": dict(metrics),
                "about": self._about,
                "leaves": {name: {"shape": x} for name, x in _describe(state).items()},
            }
        arguments = ocp.args.Composite(state=ocp.args.PyTreeSave(state))
        with self._disk_errors():
            self._manager.save(step, args=arguments, metrics=dict(metrics))

    def restore(self, step: int, like: Any, *, without: str | None = None) -> Any:
        """Return the state saved after `step`.

        Args:
            step: one of `steps()`.
            like: a state of the same structure, shapes and dtypes, whose shardings the
                restored arrays take: arrays, or `jax.ShapeDtypeStruct` with shardings,
                which take no memory.
            without: name of a field that is not read, wherever in the state it is:
                what was saved under it may have any form, and comes back as zeros.

        Raises:
            InputError: the checkpoint cannot be read, fits another model, or its bytes
                are not those that were saved.
        """
        on_first(lambda: self._check(step, like, without))
        abstract = item = jax.tree.map(_abstract, like)
        if without is not None:
            item = _pruned(
                ocp.utils.serialize_tree(item, keep_empty_nodes=True), without
            )
        arguments = ocp.args.PyTreeRestore(
            item,
            restore_args=ocp.checkpoint_utils.construct_restore_args(item),
            partial_restore=without is not None,
        )
        restore: Any = self._manager.restore
        try:
            found = restore(step, args=ocp.args.Composite(state=arguments)).state
        except Exception as error:  # Orbax raises many kinds for one broken file.
            reason = " ".join(str(error).split()).split(". See full")[0][:200]
            raise InputError(
                f"a checkpoint must be whole; {self._path(step)} is not "
                f"({type(error).__name__}: {reason}): {_WAY_OUT}"
            ) from error
        return found if without is None else _filled(abstract, found)

    def set_aside(self, step: int) -> Path:
        """Move the checkpoint of a step out of the way and return where it went.

        A broken checkpoint that stays in place would stop later saves: Orbax takes
        none of an earlier step.
        """
        target = self._directory.with_name(f"broken-checkpoint-{step}")

        def move() -> None:
            shutil.rmtree(target, ignore_errors=True)
            with naming(target, "written"):
                self._path(step).rename(target)

        # All wait for the first to say that it has been done.
        on_first(move)
        self._manager.reload()
        return target

    def wait(self) -> None:
        """Block until every save that was started is on disk."""
        with self._disk_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for saves and let go of the directory."""
        with self._disk_errors():
            self._manager.close()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Name what the system refuses, which TensorStore words as a ValueError."""
        with naming(self._directory, "written"):
            try:
                yield
            except ValueError as error:
                found = re.search(r"os_error_code='(\d+)'", str(error))
                if isinstance(error, InputError) or found is None:
                    raise
                code = int(found[1])
                raise OSError(code, os.strerror(code)) from error

    def _write_contents(self) -> None:
        """Write the contents, just before Orbax gives a checkpoint its name.

        Orbax calls this on the first process alone, once all have written their files.
        """
        for unnamed in self._directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            step = int(unnamed.name.partition(".")[0])
            if step in self._unnamed:
                files = checksums(unnamed, "state/**/*")
                contents = self._unnamed.pop(step) | {"files": files}
                text = json.dumps(contents)
                signed = {"crc32": zlib.crc32(text.encode()), "contents": text}
                (unnamed / CONTENTS).write_text(json.dumps(signed))

    def _check(self, step: int, like: Any, without: str | None) -> None:
        """Raise `InputError` unless a checkpoint is whole and of the same model."""
        contents, path = self._contents(step), self._path(step)
        saved, found = contents["files"], checksums(path, "state/**/*")
        broken = [name for name in sorted(saved) if found.get(name) != saved[name]]
        if broken:
            raise InputError(
                f"a checkpoint must be whole; of {path} {len(broken)} of {len(saved)} "
                f"files are not as they were written, such as {broken[0]}: {_WAY_OUT}"
            )
        # Compared first: Orbax would cast another dtype without a word, and answer
        # another shape with a page of tracebacks.
        own = _describe(like)
        saved = {name: row["shape"] for name, row in contents["leaves"].items()}
        names = sorted(saved.keys() | own.keys())
        if without is not None:
            names = [name for name in names if f".{without}" not in name]
        differing = [name for name in names if saved.get(name) != own.get(name)]
        if differing:
            raise InputError(
                f"a checkpoint must be of the same model; {path} differs in "
                f"{len(differing)} of {len(names)} leaves, such as {differing[0]}: "
                "take the data and the version that it was saved with"
            )

    def _path(self, step: int) -> Path:
        return self._directory / str(step)

    def _score(self, metrics: Any) -> float:
        score = self._best(metrics or {})
        return -np.inf if score is None else score

    def _contents(self, step: int) -> dict[str, Any]:
        path = self._path(step) / CONTENTS
        try:
            if not path.is_file():
                raise ValueError("there is no such file")
            with naming(path, "read"):
                signed = json.loads(path.read_bytes())
            text = signed["contents"]
            if zlib.crc32(text.encode()) != signed["crc32"]:
                raise ValueError("its checksum is that of another text")
            contents = json.loads(text)
        except FileError:
            raise  # It may be whole all the same.
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"a checkpoint must be whole; {self._path(step)} is not ({CONTENTS}: "
                f"{type(error).__name__}: {error}): {_WAY_OUT}"
            ) from error
        if contents.get("step", step) != step:
            raise InputError(
                f"a checkpoint must have the name of its step; {self._path(step)} is "
                f"of step {contents['step']}: rename it"
            )
        if contents.get("format") not in FORMATS:
            raise InputError(
                f"a checkpoint must have format {' or '.join(map(str, FORMATS))}; "
                f"{self._path(step)} has {contents.get('format')}: read it with the "
                "version that wrote it"
            )
        return contents


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _describe(tree: Any) -> dict[str, list[Any]]:
    """Return dtype and shape of every leaf by path."""
    return {
        jax.tree_util.keystr(path): [str(leaf.dtype), *leaf.shape]
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _pruned(tree: Any, without: str) -> Any:
    """Return nested dictionaries without what lies under a name."""
    if not isinstance(tree, dict):
        return tree
    return {k: _pruned(v, without) for k, v in tree.items() if k != without}


def _filled(abstract: Any, found: Any) -> Any:
    """Return a tree of the arrays found under the same names, zeros for others."""
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    known = {name(path): leaf for path, leaf in jax.tree.leaves_with_path(found)}

    def fill(path: Any, leaf: Any) -> jax.Array:
        if name(path) in known:
            return known[name(path)]
        return jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)

    return jax.tree.map_with_path(fill, abstract)
