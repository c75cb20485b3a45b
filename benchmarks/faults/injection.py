"""What faults cost a run: kills, signals, damaged checkpoints, a full disk, lost peers.

    python -m benchmarks.faults.injection --part kills
    python -m benchmarks.faults.injection --part all --experiments toy

Every fault befalls a run that is then started again, as often as it takes, by the
command that began it with --resume-if-any. At its end its metrics, its rows of layers
and every leaf of its last checkpoint are compared, bit for bit, with those of a run
that nothing befell. Steps lost are those that had been logged and were taken again;
nothing may be lost beyond the last checkpoint that was complete. Each part writes a
record of its own, so that a part can be repeated.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from benchmarks.common.processes import Local
from benchmarks.common.records import write_record
from benchmarks.faults.phases import PHASES, disturbed
from experiments.lars.experiment import LARS
from experiments.mgan.experiment import MGAN
from experiments.toy import TOY
from lars_jax.runs import Experiment, cli
from lars_jax.runs.restore import restore
from lars_jax.train.checkpoint import CONTENTS
from lars_jax.train.record import read_lines

TIMINGS = ("images_per_second", "steps_per_second", "data_wait")

Name = Literal["toy", "lars", "mgan"]


@dataclass(frozen=True)
class Subject:
    """An experiment, and how it is run to be disturbed.

    Attributes:
        experiment: its record.
        short: words of a run of a moment, with evaluations and checkpoints in it.
        long: words of a run that is killed again and again.
        steps: the range of steps after which an attempt is killed.
        shared: words of a run of several processes.
        at: the range of steps at which a process of several is killed.
        events: how many there are of each phase, of which one is chosen.
        disk: kilobytes of disks that are too small.
    """

    experiment: Experiment[Any]
    short: list[str]
    long: list[str]
    steps: tuple[int, int]
    shared: list[str]
    at: tuple[int, int]
    events: dict[str, int]
    disk: tuple[int, ...]


_TOY = ["train", "--rate", "0.999", "--devices", "1"]
_LARS = ["train", "digits", "--devices", "1", "--global-batch", "32"]
_MGAN = ["train", "ring", "--width", "16", "--noise-size", "8", "--batch", "64"]
_MGAN += ["--fakes", "16", "--steps-per-call", "10", "--eval-samples", "500"]

SUBJECTS: dict[Name, Subject] = {
    "toy": Subject(
        TOY,
        short=[*_TOY, "--steps", "40", "--eval-every", "10"],
        long=[*_TOY, "--eval-every", "20000", "--checkpoint-every", "100"]
        + ["--steps", "20000"],
        steps=(50, 1500),
        shared=["train", "--rate", "0.999", "--steps", "4000"]
        + ["--eval-every", "1000", "--checkpoint-every", "500"],
        at=(100, 3000),
        events={"compilation": 1, "training": 40, "data wait": 40, "evaluation": 4},
        disk=(60, 100, 140, 180, 220, 260, 300, 340),
    ),
    "lars": Subject(
        LARS,
        # Evaluates and saves every 4 steps, and evaluates in 6 batches.
        short=[*_LARS, "--steps", "12", "--eval-every", "0.09"]
        + ["--checkpoint-every", "0.09", "--eval-batch", "60", "--warmup-epochs", "0"],
        long=[*_LARS, "--eval-every", "2", "--checkpoint-every", "0.2"]
        + ["--log-every", "3", "--steps", "600"],
        steps=(3, 60),
        shared=["train", "digits", "--global-batch", "32", "--steps", "40"]
        + ["--bn-span", "8", "--checkpoint-every", "0.2", "--eval-every", "0.5"]
        + ["--warmup-epochs", "0"],
        at=(5, 35),
        events={"compilation": 3, "training": 12, "data wait": 12, "evaluation": 3},
        disk=(300, 500, 700, 1000, 1400, 1800, 2200, 2600),
    ),
    "mgan": Subject(
        MGAN,
        short=[*_MGAN, "--devices", "1", "--steps", "40", "--eval-every", "20"]
        + ["--checkpoint-every", "10"],
        long=[*_MGAN, "--devices", "1", "--eval-every", "20000"]
        + ["--checkpoint-every", "500", "--steps", "15000"],
        steps=(50, 1200),
        # Four processes on two cores take a second a step.
        shared=[*_MGAN, "--steps", "60", "--eval-every", "30"]
        + ["--checkpoint-every", "10"],
        at=(10, 40),
        events={"compilation": 1, "training": 4, "evaluation": 2},
        disk=(200, 300, 400, 500, 600, 700, 800, 900),
    ),
}
"""What is disturbed."""


@dataclass(frozen=True)
class Faults:
    """Let faults befall runs, and record what they cost."""

    part: Literal["kills", "signals", "damage", "disk", "peers", "all"] = "all"
    """Kind of fault."""
    experiments: tuple[Name, ...] = ("toy", "lars", "mgan")
    """Whose runs."""
    kills: int = 10
    """Kills of one run."""
    signals: int = 2
    """Signals in each phase."""
    damaged: int = 6
    """Newest checkpoints damaged, each in its own way."""
    peers: int = 2
    """Runs of four processes of which one is killed."""
    seed: int = 0
    """Seed of moments, phases and kinds of damage."""


@dataclass
class Row:
    """What one kind of fault did to the runs of an experiment.

    Attributes:
        experiment: whose runs.
        fault: what happened.
        count: how often.
        statuses: exit statuses that it led to, of all processes, and how often each.
        lost: steps taken again after each fault.
        beyond_save: steps lost beyond the last complete checkpoint, over all.
        runs: runs carried to their end.
        bit_equal: of these, those equal to the undisturbed one.
        seconds: from a kill to the end of the last process that heard of it; of a
            signal, what the whole attempt took, loading included.
    """

    experiment: str
    fault: str
    count: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    beyond_save: int = 0
    runs: int = 0
    bit_equal: int = 0
    seconds: list[float] = field(default_factory=list)

    def ended(self, status: int) -> None:
        """Count a fault by the exit status that it led to."""
        self.count += 1
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1

    def finished(self, run: Path, undisturbed: dict[str, Any]) -> None:
        """Count a run that has come to its end."""
        self.runs += 1
        self.bit_equal += remains(self.experiment, run) == undisturbed


def remains(name: str, run: Path) -> dict[str, Any]:
    """Return all that a finished run has left and that no clock has part in."""
    rows = {
        file: [
            {k: v for k, v in row.items() if k not in TIMINGS}
            for row in read_lines(run / file)
        ]
        for file in ("metrics.jsonl", "layers.jsonl")
    }
    state = jax.device_get(restore(SUBJECTS[name].experiment, run).state)  # pyright: ignore[reportArgumentType]
    leaves = {
        jax.tree_util.keystr(path): (leaf.shape, _crc32(leaf))
        for path, leaf in jax.tree.leaves_with_path(state)
    }
    return rows | {"state": leaves}


def _crc32(leaf: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data)


def saved(run: Path) -> int:
    """Return the step of the newest complete checkpoint, 0 without any."""
    found = (run / "checkpoints").glob("*")
    return max((int(path.name) for path in found if path.name.isdigit()), default=0)


def logged(run: Path) -> int:
    """Return the last step that was logged."""
    return max((row["step"] for row in read_lines(run / "metrics.jsonl")), default=0)


def resumed_at(run: Path) -> int:
    """Return the step that the newest attempt began with."""
    return _attempts(run)[-1]["step"]


def kills(name: Name, asked: Faults, scratch: Path) -> list[Row]:
    """Kill one run again and again: one time in four as it starts, else in training."""
    subject, draw = SUBJECTS[name], random.Random(asked.seed)
    straight, run = scratch / "straight", scratch / "killed"
    assert _process(name, subject.long, straight).wait() == 0
    starting = Row(name, "kill -9 before the first step")
    training = Row(name, "kill -9 in training or a save")
    struck: Row | None = None
    last = complete = 0
    for number in range(asked.kills + 1):
        begun = len(_attempts(run))
        process = _process(name, subject.long, run)
        if number == asked.kills:
            assert process.wait() == 0
        elif number % 4 == 0:
            time.sleep(draw.uniform(0.5, 4.0))
        else:
            _wait_for_steps(process, run, begun, draw.randrange(*subject.steps))
            time.sleep(draw.uniform(0.0, 0.3))
        if struck and len(_attempts(run)) > begun:
            resumed = resumed_at(run)
            struck.lost.append(max(0, last - resumed))
            struck.beyond_save += max(0, complete - resumed)
            struck, last, complete = None, resumed, resumed
        if number < asked.kills:
            assert process.poll() is None, f"{name} ended before kill {number}"
            process.kill()
            row = training if number % 4 else starting
            row.ended(process.wait())
            # An attempt killed before it had found where to go on loses nothing more.
            struck = struck or row
            last, complete = max(last, logged(run)), max(complete, saved(run))
            print(f"{name}, kill {number}: logged {last}, saved {complete}", flush=True)
    for row in (starting, training):
        row.finished(run, remains(name, straight))
    return [starting, training]


def _attempts(run: Path) -> list[dict[str, Any]]:
    return list(read_lines(run / "attempts.jsonl"))


def _wait_for_steps(
    process: subprocess.Popen, run: Path, attempts: int, steps: int
) -> None:
    """Return once a new attempt has logged some steps of its own."""
    while process.poll() is None:
        found = _attempts(run)
        if len(found) > attempts and logged(run) >= found[-1]["step"] + steps:
            return
        time.sleep(0.02)


def signals(name: Name, asked: Faults, scratch: Path) -> list[Row]:
    """Send SIGTERM in each phase, and go on."""
    subject, straight = SUBJECTS[name], scratch / "straight"
    _run(subject.experiment, subject.short, straight)
    undisturbed, draw = remains(name, straight), random.Random(asked.seed)
    rows = []
    for phase in PHASES:
        if phase == "data wait" and phase not in subject.events:
            continue
        row = Row(name, f"SIGTERM in {phase}")
        for number in range(asked.signals):
            run = scratch / f"{phase}-{number}"
            place = draw.randrange(subject.events.get(phase, 1))
            with disturbed(subject.experiment, phase, place) as experiment:
                started = time.monotonic()
                row.ended(_run(experiment, subject.short, run))
                row.seconds.append(time.monotonic() - started)
            last = logged(run)
            _run(subject.experiment, subject.short, run)
            row.lost.append(max(0, last - resumed_at(run)))
            row.finished(run, undisturbed)
        rows.append(row)
        print(row, flush=True)
    return rows


def damage(name: Name, asked: Faults, scratch: Path) -> list[Row]:
    """Damage the newest checkpoint of a finished run, and let it finish again."""
    subject, straight = SUBJECTS[name], scratch / "straight"
    _run(subject.experiment, subject.short, straight)
    undisturbed, draw = remains(name, straight), random.Random(asked.seed)
    rows = {kind: Row(name, f"newest checkpoint: {kind}") for kind in _DAMAGES}
    for number in range(asked.damaged):
        kind = list(_DAMAGES)[number % len(_DAMAGES)]
        run = Path(shutil.copytree(straight, scratch / f"damaged-{number}"))
        newest, row = saved(run), rows[kind]
        files = sorted((run / "checkpoints" / str(newest)).rglob("*"))
        used = [f for f in files if f.is_file() and (f.name == CONTENTS or _state(f))]
        _DAMAGES[kind](draw.choice(used), draw)
        row.ended(_run(subject.experiment, subject.short, run))
        row.lost.append(newest - resumed_at(run))
        row.finished(run, undisturbed)
    for row in rows.values():
        print(row, flush=True)
    return list(rows.values())


def _state(file: Path) -> bool:
    return "state" in file.parts and file.stat().st_size > 0


def _flip(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def _truncate(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])


def _delete(file: Path, draw: random.Random) -> None:
    del draw
    file.unlink()


_DAMAGES = {"a bit flipped": _flip, "truncated": _truncate, "a file gone": _delete}


def disk(name: Name, asked: Faults, scratch: Path) -> list[Row]:
    """Let the disk be full at one size after another, then larger."""
    del asked
    subject, straight = SUBJECTS[name], scratch / "straight"
    _process(name, subject.short, straight).wait()
    row = Row(name, "disk full during a save")
    for kilobytes in subject.disk:
        place = scratch / f"disk-{kilobytes}"
        place.mkdir()
        with _small_disk(place, kilobytes):
            run = place / "run"
            row.ended(_process(name, subject.short, run).wait())
            last = logged(run)
            _mount("remount,size=64m", place)
            assert _process(name, subject.short, run).wait() == 0
            row.lost.append(max(0, last - resumed_at(run)))
            row.finished(run, remains(name, straight))
    print(row, flush=True)
    return [row]


@contextlib.contextmanager
def _small_disk(place: Path, kilobytes: int) -> Iterator[None]:
    _mount(f"size={kilobytes}k", place)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(options: str, place: Path) -> None:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    subprocess.run(words, check=True)


def peers(name: Name, asked: Faults, scratch: Path) -> list[Row]:
    """Kill one of four processes, each in its turn, and start all again."""
    subject = SUBJECTS[name]
    module = subject.experiment.command.split()[-1]
    words, straight = [*subject.shared, "--resume-if-any"], scratch / "straight"

    def start(run: Path) -> Local:
        return Local(4, scratch, *words, "--run-dir", str(run), module=module)

    start(straight).end(0, 0, 0, 0)
    row, draw = Row(name, "one of four processes killed"), random.Random(asked.seed)
    for victim in range(asked.peers):
        run = scratch / f"victim-{victim}"
        local = start(run)
        local.wait_for_step(run, draw.randrange(*subject.at))
        local.send(victim, signal.SIGKILL)
        started = time.monotonic()
        for status in local.wait():
            row.ended(status)
        row.count = victim + 1
        row.seconds.append(time.monotonic() - started)
        last, complete = logged(run), saved(run)
        start(run).end(0, 0, 0, 0)
        row.lost.append(max(0, last - resumed_at(run)))
        row.beyond_save += max(0, complete - resumed_at(run))
        row.finished(run, remains(name, straight))
        print(row, flush=True)
    return [row]


def _run(experiment: Experiment[Any], words: list[str], run: Path) -> int:
    """Run a command in this process, and return its exit status."""
    return cli.main(experiment, [*words, "--run-dir", str(run), "--resume-if-any"])


def _process(name: Name, words: list[str], run: Path) -> subprocess.Popen:
    """Start a command in a process of its own."""
    module = SUBJECTS[name].experiment.command.split()[-1]
    command = [sys.executable, "-m", module, *words, "--run-dir", str(run)]
    return subprocess.Popen(
        [*command, "--resume-if-any"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


PARTS = {
    "kills": kills,
    "signals": signals,
    "damage": damage,
    "disk": disk,
    "peers": peers,
}


def _cache_programs(place: Path) -> None:
    """Compile each program once, in this process or in those that it starts."""
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(place),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


def main(asked: Faults) -> None:
    """Let the faults happen and write a record for each part."""
    names = list(PARTS) if asked.part == "all" else [asked.part]
    with tempfile.TemporaryDirectory(prefix="lars-jax-faults-") as scratch:
        _cache_programs(Path(scratch) / "cache")
        for part in names:
            rows = []
            for name in asked.experiments:
                place = Path(scratch) / part / name
                place.mkdir(parents=True)
                rows += PARTS[part](name, asked, place)
                # After each, so that what breaks off a long part leaves the others.
                command = f"python -m benchmarks.faults.injection --part {part}"
                found = [asdict(row) for row in rows]
                write_record(f"shell_{part}", command, asked=asdict(asked), rows=found)


if __name__ == "__main__":
    main(tyro.cli(Faults))
