"""Agree with the other processes of a run on the step to stop at.

Processes that compute together must stop after the same step, or one waits for ever in
a collective that the others never reach. They agree by a program of their own between
the steps, so that neither a batch nor a step knows of it.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.train.parallel import DataParallel, data_mesh

AGREE_EVERY = 2
"""Steps between two agreements of several processes.

One is looked at when the next is due, so a signal ends a run after at most three times
as many steps: six, or steps of 4 s within the 25 s that a run has by default.
"""


class StopFlag:
    """Whether to stop now, the same on all processes; asked before each step.

    Alone, a process stops as soon as it wants to. Among others it stops, with them, a
    few steps after any of them wants to: see `AGREE_EVERY`. All must ask alike often.

    Args:
        wanted: whether this process wants to stop.

    >>> wanted = iter([False, True])
    >>> stop = StopFlag(lambda: next(wanted))
    >>> stop(), stop()
    (False, True)
    """

    def __init__(self, wanted: Callable[[], bool]):
        self._wanted = wanted
        self._asked = 0
        self._pending: jax.Array | None = None

    def __call__(self) -> bool:
        """Return whether to stop."""
        if jax.process_count() == 1:
            return self._wanted()
        self._asked += 1
        if self._asked % AGREE_EVERY:
            return False
        # The one before has been queued for some steps: that it is waited for leaves
        # the devices as many to work on.
        before, self._pending = self._pending, any_process(self._wanted())
        return before is not None and bool(before)


def any_process(flag: bool) -> jax.Array:
    """Return whether the flag of any process is set, bool [], before it is known.

    >>> print(any_process(True), any_process(False))
    True False
    """
    return jnp.any(_flags(flag))


@cache
def _flags(flag: bool) -> jax.Array:
    """Return the flag on every device of this process, bool [devices], made once."""
    return DataParallel(data_mesh()).shard_batch(
        np.full(len(jax.local_devices()), flag)
    )
