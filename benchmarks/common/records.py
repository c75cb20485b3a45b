"""Recorded measurements: a JSON file each, from which the README's tables are made.

A record names the command that made it, the machine and versions it ran on, the
configuration, and every single run, so that mean and deviation can be checked.
"""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lars_jax.train.record import environment, read_json, write_json

RECORDS = Path(__file__).parents[2] / "records"


def machine() -> str:
    """Return the processor and its number of cores, as one would name it."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores"


def write_record(name: str, command: str, **content: Any) -> Path:
    """Write a record under `records/`, with machine and environment added."""
    path = RECORDS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    found = {"command": command, "machine": machine(), "environment": environment()}
    write_json(path, found | content)
    return path


def read_record(name: str) -> dict[str, Any]:
    """Return a record by its name."""
    return read_json(RECORDS / f"{name}.json")


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation; 0 for a single value.

    >>> mean_sd([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.fmean(values), spread
