"""Recorded measurements: a JSON file each, from which the pages' tables are made.

A record names the command that made it, the machine and versions it ran on, the
configuration, and every single run, so that mean and deviation can be checked.
"""

import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from lars_jax.errors import InputError
from lars_jax.train.config import from_json
from lars_jax.train.record import environment, read_json, write_text

RECORDS = Path(
    os.environ.get("LARS_JAX_RECORDS", Path(__file__).parents[2] / "records")
)
"""Where records are; a variable of the environment may name another folder."""


def machine() -> str:
    """Return the processor and its number of cores, as one would name it."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = named[1].strip() if named else model
    return f"{model}, {os.cpu_count()} cores"


def device_name() -> str:
    """Return the device kind as a part of a file name."""
    kind = jax.devices()[0].device_kind.lower()
    return re.sub(r"[^a-z0-9]+", "-", kind).strip("-")


def record_path(name: str) -> Path:
    """Return the file of a record by its name."""
    return RECORDS / f"{name}.json"


def write_record(name: str, command: str, **content: Any) -> Path:
    """Write a record under `records/`, with machine and environment added."""
    path = record_path(name)
    path.parent.mkdir(exist_ok=True)
    found = {"command": command, "machine": machine(), "environment": environment()}
    write_text(path, to_text(found | content))
    return path


def read_record(name: str) -> dict[str, Any]:
    """Return a record by its name."""
    return read_json(record_path(name))


def is_of(record: Mapping[str, Any], config: Any) -> bool:
    """Return whether a record was made with a configuration.

    Fields that are younger than the record count as their defaults.

    Args:
        record: with a `config` as `to_json` gives it.
        config: a dataclass.
    """
    try:
        return from_json(type(config), record["config"]) == config
    except InputError:
        # Of fields or values that there are no more.
        return False


def to_text(record: dict[str, Any]) -> str:
    """Return a record as JSON with a line for each run, so that changes can be read.

    >>> print(to_text({"command": "x", "runs": [{"n": 1}, {"n": 2}]}), end="")
    {
    "command": "x",
    "runs": [
    {"n": 1},
    {"n": 2}
    ]
    }
    """
    entries = [f"{json.dumps(name)}: {_entry(value)}" for name, value in record.items()]
    return _block("{", entries, "}") + "\n"


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation; 0 for a single value.

    >>> mean_sd([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.fmean(values), sd


def _entry(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return _block("[", [json.dumps(one) for one in value], "]")
    if isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()):
        own = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in value.items()]
        return _block("{", own, "}")
    return json.dumps(value)


def _block(opening: str, lines: Sequence[str], closing: str) -> str:
    return "\n".join([opening, ",\n".join(lines), closing])
