"""How much memory a device has for a training step."""

from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.lars.config import Config
from lars_jax.train import DataParallel

GIB = 2**30


def device_memory(config: Config, parallel: DataParallel) -> int:
    """Return the bytes that each device of a mesh has, the least where they differ.

    It is what the configuration says; else what an accelerator's allocator may take,
    or a CPU device's share of the memory that the process could still get, in whole
    GiB where it is one or more: what is free changes from run to run.

    Args:
        config: the run.
        parallel: its mesh. With several processes all of them have to call this.

    >>> from experiments.lars.config import replace
    >>> from lars_jax.train import data_mesh
    >>> config = replace(Config(), device_memory=0.5)
    >>> device_memory(config, DataParallel(data_mesh(1)))
    536870912
    """
    if config.device_memory is not None:
        return int(config.device_memory * GIB)
    devices = parallel.mesh.local_devices
    found = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [size for size in found if size]
    own = min(known) if known else process_memory() // len(devices)
    own = own // GIB * GIB if not known and own >= GIB else own
    if jax.process_count() == 1:
        return own
    # Every process must cut the batch alike. Bytes would not fit into an int32.
    everyone = multihost_utils.process_allgather(np.float32(own / GIB))
    return int(float(np.min(everyone)) * GIB)


def process_memory(
    meminfo: Path = Path("/proc/meminfo"),
    cgroup: Path = Path("/proc/self/cgroup"),
    mount: Path = Path("/sys/fs/cgroup"),
) -> int:
    """Return the bytes that this process could still get, by the kernel's account.

    Args:
        meminfo: the machine's memory.
        cgroup: the control groups that the process is in.
        mount: where control groups lie; each limits those below it.
    """
    free = [_available(meminfo)]
    for line in _lines(cgroup):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            free += _above(mount, path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes"
            free += _above(mount / "memory", path, *names)
    known = [size for size in free if size is not None]
    return max(0, min(known)) if known else GIB


def _available(meminfo: Path) -> int | None:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


def _above(mount: Path, path: str, limit: str, usage: str) -> list[int | None]:
    """Return what a control group leaves, and every group that it is in."""
    own = mount / path.lstrip("/")
    groups = [own, *own.parents]
    return [
        _left(group, limit, usage) for group in groups if group.is_relative_to(mount)
    ]


def _left(group: Path, limit: str, usage: str) -> int | None:
    most, used = _lines(group / limit), _lines(group / usage)
    if not most or not used or not most[0].isdecimal():
        return None
    # Cached files make room when asked to.
    cached = [
        int(line.split()[1])
        for line in _lines(group / "memory.stat")
        if line.startswith("inactive_file ")
    ]
    return int(most[0]) - int(used[0]) + sum(cached)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
