"""Pipelines: stages from files to files, run in order where they are not current.

Each stage writes into a directory of its own, `DIRECTORY/NAME`. It is current as long
as its manifest says so: the digest of the settings that it depends on, the digests of
what the stages before it left and of what it reads beside that, and the checksum of
every file that it left itself. It
works in `DIRECTORY/NAME.partial`, which takes its name at the end at once, so what was
killed half-way is never taken for a result. It starts clean, or, where the stage can do
so, goes on as long as settings and inputs are still the same.
"""

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from lars_jax.errors import InputError, naming
from lars_jax.files import make_directory
from lars_jax.train import Interrupt
from lars_jax.train.config import digest, to_json
from lars_jax.train.record import checksums, lock, read_json, write_json

C = TypeVar("C")

MANIFEST = "manifest.json"

LOG = "log"
"""Directory of a stage that says how it went: times are no result, and not digested."""

TIME = "time.json"
"""File in the log of a stage: the `seconds` that its last start took, and whether that
`resumed` what an earlier one had begun."""

Work = Callable[[C, Mapping[str, Path], Path, Interrupt], None]
"""From the configuration, the directories of the stages that it needs by name, and an
empty directory to fill; it lets a signal end its waits as `Interrupt` says."""


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One step of a pipeline, a function of files and settings to files.

    Attributes:
        name: of the stage and of its directory.
        run: the work.
        needs: names of the stages whose files it reads.
        settings: names of the fields at the top of the configuration that matter to it.
        reads: from the configuration, digests of what it reads beside directories of
            stages; what cannot be read is refused before any stage runs.
        resumes: whether its work goes on from what it finds in its directory, which is
            then kept where it was killed.
    """

    name: str
    run: Work[C]
    needs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    reads: Callable[[C], Any] | None = None
    resumes: bool = False


def run_stages(
    stages: Sequence[Stage[C]],
    config: C,
    directory: Path,
    *,
    only: str | None = None,
    force: Collection[str] = (),
    interrupt: Interrupt | None = None,
    say: Callable[[str], None] = print,
    begin: Callable[[], None] = lambda: None,
) -> list[str]:
    """Run every stage that is not current, and return the names of those that ran.

    Args:
        stages: in an order in which each comes after those that it needs.
        config: a dataclass.
        directory: where stages write; made if absent.
        only: run this stage alone; those that it needs must be current.
        force: names of stages to run though they are current.
        interrupt: ends the work on a signal; None: nothing does.
        say: is told what is run and what is not.
        begin: is called once nothing is to be refused any more and the directory is
            held, before a stage runs.

    Raises:
        InputError: an unknown name, an order that cannot be, a stage that is needed and
            not current, files of others where a stage would write, or what a stage
            raises.
        Interrupted: a signal came; what a stage had not finished starts clean.

    >>> import tempfile
    >>> from dataclasses import make_dataclass
    >>> def double(config, inputs, output, interrupt):
    ...     (output / "number").write_text(str(2 * config.number))
    >>> stages = [Stage("double", double, settings=("number",))]
    >>> place, Config = Path(tempfile.mkdtemp()), make_dataclass("C", [("number", int)])
    >>> run_stages(stages, Config(3), place), run_stages(stages, Config(3), place)
    double: running
    double: current
    (['double'], [])
    >>> run_stages(stages, Config(4), place)
    double: running
    ['double']
    """
    check_stages(stages, only, force)
    concerned = stages if only is None else stages_through(stages, only)
    interrupt = interrupt or Interrupt()
    read = {
        stage.name: digest(interrupt.run(partial(stage.reads, config)))
        for stage in concerned
        if stage.reads is not None
    }
    make_directory(directory)
    ran = []

    def is_current(stage: Stage[C]) -> bool:
        manifest = _expected(stage, config, directory, read)
        return manifest is not None and _is_current(directory / stage.name, manifest)

    with lock(directory):
        for stage in concerned:
            if only not in (None, stage.name) and not is_current(stage):
                raise InputError(
                    f"a stage must have what it needs; got --only {only} while "
                    f"{stage.name} is not current: run --only {stage.name} first, or "
                    "leave --only out"
                )
        for stage in concerned:
            _refuse_foreign(directory / stage.name)
        begin()
        for stage in concerned:
            interrupt.check()
            wanted = only in (None, stage.name)
            if is_current(stage) and not (wanted and stage.name in force):
                say(f"{stage.name}: current")
                continue
            say(f"{stage.name}: running")
            manifest = _expected(stage, config, directory, read)
            assert manifest is not None, "what it needs has run or was current"
            _run(stage, config, directory, manifest, interrupt)
            ran.append(stage.name)
    return ran


def stages_through(stages: Sequence[Stage[C]], name: str) -> list[Stage[C]]:
    """Return a stage and those that it needs, directly or not, in their order.

    Args:
        stages: in an order in which each comes after those that it needs.
        name: of the stage.

    >>> stages = [Stage("a", print), Stage("b", print), Stage("c", print, needs=("a",))]
    >>> [stage.name for stage in stages_through(stages, "c")]
    ['a', 'c']
    """
    needed = {name}
    for stage in reversed(stages):
        if stage.name in needed:
            needed |= set(stage.needs)
    return [stage for stage in stages if stage.name in needed]


def is_coherent(directory: Path, name: str) -> bool:
    """Return whether what a stage left was made of what those before it have now.

    Args:
        directory: of the pipeline.
        name: of the stage; False where it has left nothing.
    """
    found = _read(directory / name / MANIFEST)
    return bool(found) and all(
        is_coherent(directory, need)
        and digest(_read(directory / need / MANIFEST).get("outputs")) == made_of
        for need, made_of in found.get("inputs", {}).items()
    )


def has_settings(
    stages: Sequence[Stage[C]],
    settings: Mapping[str, Any],
    directory: Path,
    name: str,
) -> bool:
    """Return whether what a stage left, and all that it needs, was made with settings.

    Args:
        stages: of the pipeline.
        settings: as a `config.json` has them.
        directory: of the pipeline.
        name: of the stage; False where it is none of them, or has left nothing.

    >>> import tempfile
    >>> stages, place = [Stage("a", print, settings=("b",))], Path(tempfile.mkdtemp())
    >>> (place / "a").mkdir()
    >>> write_json(place / "a" / MANIFEST, {"settings": digest({"b": 1})})
    >>> [has_settings(stages, {"b": b, "c": 0}, place, "a") for b in (1, 2)]
    [True, False]
    """
    concerned = stages_through(stages, name)
    return bool(concerned) and all(
        set(stage.settings) <= settings.keys()
        and _read(directory / stage.name / MANIFEST).get("settings")
        == _settings_digest(stage, settings)
        for stage in concerned
    )


def _settings_digest(stage: Stage[C], settings: Mapping[str, Any]) -> str:
    return digest({name: settings[name] for name in stage.settings})


def _run(
    stage: Stage[C],
    config: C,
    directory: Path,
    manifest: dict[str, Any],
    interrupt: Interrupt,
) -> None:
    final, partial = directory / stage.name, directory / f"{stage.name}.partial"
    begun = _read(partial / MANIFEST)
    outputs = begun.pop("outputs", None)
    same = begun == manifest
    # What was killed while it took the place of an earlier result is whole.
    if not (same and outputs is not None and outputs == _outputs(partial)):
        resumed = stage.resumes and same
        if not resumed:
            shutil.rmtree(partial, ignore_errors=True)
            make_directory(partial)
        if stage.resumes:
            write_json(partial / MANIFEST, manifest)
        inputs = {name: directory / name for name in stage.needs}
        began = time.monotonic()
        stage.run(config, inputs, partial, interrupt)
        make_directory(partial / LOG)
        took = {"seconds": time.monotonic() - began, "resumed": resumed}
        write_json(partial / LOG / TIME, took)
        write_json(partial / MANIFEST, manifest | {"outputs": _outputs(partial)})
    # Out of the way first: what is half removed would be of no stage.
    former = directory / f"{stage.name}.former"
    shutil.rmtree(former, ignore_errors=True)
    with naming(final, "written"):
        if final.exists():
            final.rename(former)
        partial.rename(final)
    shutil.rmtree(former, ignore_errors=True)


def _refuse_foreign(place: Path) -> None:
    """Refuse files that no stage has left where one would take their place."""
    with naming(place, "read"):
        files = list(place.iterdir()) if place.is_dir() else []
        own = (place / MANIFEST).exists() or (place / LOG / TIME).exists()
        if own or not (files or (place.exists() and not place.is_dir())):
            return
    raise InputError(
        f"a stage replaces only what a stage has written; {place} holds something "
        "else: name another --run-dir, or move it"
    )


def _expected(
    stage: Stage[C], config: C, directory: Path, read: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the manifest but for its outputs; None where an input is not there."""
    inputs = {}
    for name in stage.needs:
        path = directory / name / MANIFEST
        if not path.exists():
            return None
        inputs[name] = digest(_read(path).get("outputs"))
    beside = {"reads": read[stage.name]} if stage.name in read else {}
    return {
        "stage": stage.name,
        "settings": _settings_digest(stage, to_json(config)),
        "inputs": inputs,
        **beside,
    }


def _is_current(place: Path, manifest: dict[str, Any]) -> bool:
    if not (place / MANIFEST).exists():
        return False
    return _read(place / MANIFEST) == manifest | {"outputs": _outputs(place)}


def _outputs(place: Path) -> dict[str, int]:
    return {
        name: value
        for name, value in checksums(place).items()
        if name != MANIFEST and not name.startswith(f"{LOG}/")
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except InputError:
        # Damaged, it says nothing: the stage runs again.
        return {}
    return found if isinstance(found, dict) else {}


def check_stages(
    stages: Sequence[Stage[C]], only: str | None, force: Collection[str]
) -> None:
    """Refuse an order that cannot be, and the name of a stage that there is not.

    Args:
        stages: in their order.
        only: of `run_stages`.
        force: of `run_stages`.

    Raises:
        InputError: one of these.
    """
    known: list[str] = []
    for stage in stages:
        missing = [need for need in stage.needs if need not in known]
        if missing or stage.name in known:
            raise InputError(
                f"a stage must come once, after those that it needs; got {stage.name} "
                f"after {known}: put {missing or [stage.name]} right"
            )
        known.append(stage.name)
    for name in (*([] if only is None else [only]), *force):
        if name not in known:
            raise InputError(
                f"a stage must be one of {', '.join(known)}; got {name!r}: choose one"
            )
