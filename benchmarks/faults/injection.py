"""What faults cost a run: kills, signals, damaged checkpoints, a full disk, lost peers.

    python -m benchmarks.faults.injection --part kills
    python -m benchmarks.faults.injection --part all

Every fault befalls a run of `digits` that is then started again, as often as it takes,
by the command that began it with --resume-if-any. At its end its metrics, its layers'
norms and every leaf of its last checkpoint are compared, bit for bit, with those of a
run that nothing befell. Steps lost are those that had been logged and were taken again;
nothing may be lost beyond the last checkpoint that was complete. Each part writes a
record of its own, so that a part can be repeated.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import jax
import tyro

from benchmarks.common.processes import Local
from benchmarks.common.records import write_record
from benchmarks.faults import phases
from experiments.lars.cli import main as command_line
from lars_jax.train.checkpoint import CONTENTS
from lars_jax.train.record import read_lines

TIMINGS = ("images_per_second", "data_wait")
LARS = ["train", "digits", "--devices", "1", "--global-batch", "32"]
SHORT = [*LARS, "--steps", "12", "--eval-every", "0.09", "--checkpoint-every", "0.09"]
SHORT += ["--eval-batch", "60"]
"""Evaluates and saves every 4 steps, and evaluates in 6 batches."""


@dataclass(frozen=True)
class Faults:
    """Let faults befall runs, and record what they cost."""

    part: Literal["kills", "signals", "damage", "disk", "peers", "all"] = "all"
    """Kind of fault."""
    kills: int = 100
    """Kills at random moments of one run."""
    signals: int = 20
    """Signals in each phase."""
    damaged: int = 20
    """Newest checkpoints damaged, each in its own way."""
    peers: int = 2
    """Runs of four processes of which one is killed."""
    steps: int = 6000
    """Steps of the run that is killed."""
    seed: int = 0
    """Seed of moments, phases and kinds of damage."""


@dataclass
class Row:
    """What one kind of fault did.

    Attributes:
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
        self.bit_equal += remains(run) == undisturbed


def remains(run: Path) -> dict[str, Any]:
    """Return all that a finished run has left and that no clock has part in."""
    rows = {
        name: [
            {k: v for k, v in row.items() if k not in TIMINGS}
            for row in read_lines(run / name)
        ]
        for name in ("metrics.jsonl", "layers.jsonl")
    }
    return rows | {"state": leaves(run / "checkpoints" / str(saved(run)))}


def leaves(checkpoint: Path) -> dict[str, Any]:
    """Return shape and checksum of every leaf of a checkpoint."""
    signed = json.loads((checkpoint / CONTENTS).read_text())
    return json.loads(signed["contents"])["leaves"]


def saved(run: Path) -> int:
    """Return the step of the newest complete checkpoint, 0 without any."""
    found = (run / "checkpoints").glob("*")
    return max((int(path.name) for path in found if path.name.isdigit()), default=0)


def logged(run: Path) -> int:
    """Return the last step that was logged."""
    return max((row["step"] for row in read_lines(run / "metrics.jsonl")), default=0)


def resumed_at(run: Path) -> int:
    """Return the step that the newest attempt began with."""
    return list(read_lines(run / "attempts.jsonl"))[-1]["step"]


def kills(asked: Faults, scratch: Path) -> list[Row]:
    """Kill one run again and again, from its imports to its saves."""
    words = [*LARS, "--steps", str(asked.steps), "--eval-every", "2"]
    words += ["--checkpoint-every", "0.2", "--log-every", "3"]
    straight, run = scratch / "straight", scratch / "killed"
    _process(words, straight).wait()
    row, draw = Row("kill -9 at a random moment"), random.Random(asked.seed)
    before: tuple[int, int] | None = None
    while row.count < asked.kills:
        attempts = len(list(read_lines(run / "attempts.jsonl")))
        process = _process(words, run)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.5, 7.0))
            break
        process.kill()
        row.ended(process.wait())
        if before and len(list(read_lines(run / "attempts.jsonl"))) > attempts:
            before = _account(row, run, before)
        before = before or (0, 0)
        before = max(before[0], logged(run)), saved(run)
        print(f"kill {row.count}: logged {before[0]}, saved {before[1]}", flush=True)
    assert _process(words, run).wait() == 0
    if before:
        _account(row, run, before)
    row.finished(run, remains(straight))
    return [row]


def _account(row: Row, run: Path, before: tuple[int, int]) -> tuple[int, int]:
    """Add what was lost, now that another attempt has begun."""
    last, complete = before
    begun = resumed_at(run)
    row.lost.append(max(0, last - begun))
    row.beyond_save += max(0, complete - begun)
    return begun, complete


def signals(asked: Faults, scratch: Path) -> list[Row]:
    """Send SIGTERM in each phase, and go on."""
    straight = scratch / "straight"
    _run(SHORT, straight)
    undisturbed, draw = remains(straight), random.Random(asked.seed)
    ways = {
        "loading": lambda: (phases.in_loading, 0),
        "compilation": lambda: (phases.in_compilation, draw.randrange(3)),
        "training": lambda: (phases.in_training, draw.randrange(1, 12)),
        "data wait": lambda: (phases.in_data_wait, (12, draw.randrange(1, 12))),
        "evaluation": lambda: (phases.in_evaluation, draw.randrange(18)),
        "report": lambda: (phases.in_report, 0),
    }
    rows = []
    for phase, choose in ways.items():
        row = Row(f"SIGTERM in {phase}")
        for number in range(asked.signals):
            run = scratch / f"{phase}-{number}"
            function, place = choose()
            with contextlib.ExitStack() as patches:
                function(_patching(patches), place)
                started = time.monotonic()
                row.ended(_run(SHORT, run))
                row.seconds.append(time.monotonic() - started)
            last = logged(run)
            _run(SHORT, run)
            row.lost.append(max(0, last - resumed_at(run)))
            row.finished(run, undisturbed)
        rows.append(row)
        print(row, flush=True)
    return rows


def _patching(patches: contextlib.ExitStack) -> phases.Patch:
    def patch(target: Any, name: str, value: Any) -> None:
        patches.enter_context(mock.patch.object(target, name, value))

    return patch


def damage(asked: Faults, scratch: Path) -> list[Row]:
    """Damage the newest checkpoint of a finished run, and let it finish again."""
    straight = scratch / "straight"
    _run(SHORT, straight)
    undisturbed, draw = remains(straight), random.Random(asked.seed)
    rows = {kind: Row(f"newest checkpoint: {kind}") for kind in _DAMAGES}
    for number in range(asked.damaged):
        kind = list(_DAMAGES)[number % len(_DAMAGES)]
        run = Path(shutil.copytree(straight, scratch / f"damaged-{number}"))
        newest, row = saved(run), rows[kind]
        files = sorted((run / "checkpoints" / str(newest)).rglob("*"))
        used = [f for f in files if f.is_file() and (f.name == CONTENTS or _state(f))]
        _DAMAGES[kind](draw.choice(used), draw)
        row.ended(_run(SHORT, run))
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


def disk(asked: Faults, scratch: Path) -> list[Row]:
    """Let the disk be full at one size after another, then larger."""
    del asked
    straight = scratch / "straight"
    _process(SHORT, straight).wait()
    row = Row("disk full during a save")
    for kilobytes in (300, 500, 700, 1000, 1400, 1800, 2200, 2600):
        place = scratch / f"disk-{kilobytes}"
        place.mkdir()
        with _small_disk(place, kilobytes):
            run = place / "run"
            row.ended(_process(SHORT, run).wait())
            last = logged(run)
            _mount("remount,size=64m", place)
            assert _process(SHORT, run).wait() == 0
            row.lost.append(max(0, last - resumed_at(run)))
            row.finished(run, remains(straight))
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


def peers(asked: Faults, scratch: Path) -> list[Row]:
    """Kill one of four processes, each in its turn, and start all again."""
    words = [*LARS[:2], "--global-batch", "32", "--steps", "40", "--bn-span", "8"]
    words += ["--checkpoint-every", "0.2", "--eval-every", "0.5", "--resume-if-any"]
    straight = scratch / "straight"
    Local(4, scratch, *words, "--run-dir", str(straight)).end(0, 0, 0, 0)
    row, draw = Row("one of four processes killed"), random.Random(asked.seed)
    for victim in range(asked.peers):
        run = scratch / f"victim-{victim}"
        again = [*words, "--run-dir", str(run)]
        local = Local(4, scratch, *again)
        local.wait_for_step(run, draw.randrange(5, 35))
        local.send(victim, signal.SIGKILL)
        started = time.monotonic()
        for status in local.wait():
            row.ended(status)
        row.count = victim + 1
        row.seconds.append(time.monotonic() - started)
        last, complete = logged(run), saved(run)
        Local(4, scratch, *again).end(0, 0, 0, 0)
        row.lost.append(last - resumed_at(run))
        row.beyond_save += max(0, complete - resumed_at(run))
        row.finished(run, remains(straight))
        print(row, flush=True)
    return [row]


def _run(words: list[str], run: Path) -> int:
    """Run a command in this process, and return its exit status."""
    return command_line([*words, "--run-dir", str(run), "--resume-if-any"])


def _process(words: list[str], run: Path) -> subprocess.Popen:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "experiments.lars", *words, "--run-dir", str(run)]
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
    for name in names:
        with tempfile.TemporaryDirectory(prefix="lars-jax-faults-") as scratch:
            _cache_programs(Path(scratch) / "cache")
            rows = PARTS[name](asked, Path(scratch))
        command = f"python -m benchmarks.faults.injection --part {name}"
        found = [asdict(row) for row in rows]
        print(write_record(f"faults_{name}", command, asked=asdict(asked), rows=found))


if __name__ == "__main__":
    main(tyro.cli(Faults))
