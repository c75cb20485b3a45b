"""How many threads decode images."""

import os


def usable_cores() -> int:
    """Return the number of cores that this process may use, 16 at most.

    Decoders beyond the number of cores slow one another down, and a container is often
    given fewer than the machine has.

    >>> 1 <= usable_cores() <= 16
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, 16)
