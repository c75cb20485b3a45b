"""Join the processes of a run, and leave them without anyone waiting for ever."""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from lars_jax.errors import FileError, InputError
from lars_jax.train.interrupt import end_now
from lars_jax.train.peer_monitor import Client, Server

T = TypeVar("T")

LOST = 75
"""Exit status of a process whose run has lost another one (EX_TEMPFAIL): try again."""

HEARTBEAT_SECONDS = 8
"""Silence after which a machine counts as lost, so that all have ended after ten."""

JOIN_SECONDS = 300
"""How long a process waits for the others to start, and at the end for their last."""

PATIENCE_SECONDS = 1.0
"""How long a process that hears of another's error waits for its own to be told."""


@dataclass
class Processes:
    """The processes of a run, of which this is one; alone, it is one of one."""

    count: int = 1
    index: int = 0
    _monitor: Server | Client | None = None
    _ending: threading.Lock = field(default_factory=threading.Lock)

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    @property
    def writes(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.index == 0

    def leave(self, status: int, *, agreed: bool) -> NoReturn:
        """End this process with an exit status.

        Args:
            status: the exit status.
            agreed: whether the others come to the same end, and are waited for. A
                process that ends by itself waits for nobody: the barrier that JAX would
                wait in at exit is one that the others never reach.
        """
        if not agreed:
            # From here on a loss is no news: it is this one.
            self._ending.acquire(blocking=False)
        if self._monitor is not None:
            self._monitor.close("bye" if agreed else "failed")
        if agreed:
            jax.distributed.shutdown()
        end_now(status)

    def lost(self, words: str, failed: bool) -> None:
        """End this process because another one has gone."""
        if failed:
            # Its error may be this one's too, which then tells it by itself.
            time.sleep(PATIENCE_SECONDS)
        if not self._ending.acquire(blocking=False):
            return
        print(
            f"error: {words}; process {self.index} of {self.count} ends with it: start "
            "all of them again, with --resume, to go on from the last checkpoint",
            file=sys.stderr,
        )
        end_now(LOST)

    def wait_for_news(self) -> None:
        """Give the news of a lost process time to end this one with a line of its own.

        For an error that nobody has a line for, such as that of a collective.
        """
        time.sleep(2 * PATIENCE_SECONDS)


def join(cluster: dict[str, Any] | None) -> Processes:
    """Return the processes of a run, once all of them are there.

    To be called before JAX is used for anything.

    Args:
        cluster: what `find_cluster` found.

    Raises:
        InputError: they cannot be reached.
    """
    if cluster is None:
        return Processes()
    try:
        jax.distributed.initialize(
            **cluster,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            # Process 0 writes the report while the others wait for it here.
            shutdown_timeout_seconds=JOIN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            "all processes of a run must reach its process 0 within "
            f"{JOIN_SECONDS} s; it was not so ({reason}): look at the others, the "
            "address and the network"
        ) from error
    processes = Processes(jax.process_count(), jax.process_index())
    if not processes.alone:
        processes._monitor = _start_monitor(processes)
    return processes


def is_first() -> bool:
    """Return whether this is process 0, which writes and decides for all."""
    return jax.process_index() == 0


def on_first(work: Callable[[], T]) -> T:
    """Return on all processes what work gives on process 0, or raise its error on all.

    Args:
        work: returns what JSON can hold.

    Raises:
        InputError: the work raised it; a `FileError` stays one.

    >>> on_first(lambda: "done")
    'done'
    """
    if jax.process_count() == 1:
        return work()
    found: dict[str, Any] = {}
    if is_first():
        try:
            found["answer"] = work()
        except FileError as error:
            found["refused"] = str(error), error.doing, error.errno
        except InputError as error:
            found["error"] = str(error)
    words = json.dumps(found).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(words))))
    padded = np.frombuffer(words[:size].ljust(size), np.uint8)
    words = np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes()
    found = json.loads(words)
    if "refused" in found:
        raise FileError.told(*found["refused"])
    if "error" in found:
        raise InputError(found["error"])
    return found["answer"]


def _start_monitor(processes: Processes) -> Server | Client | None:
    server = Server(processes.count - 1, processes.lost) if processes.writes else None
    port = on_first(lambda: server.port if server else 0)
    if server is not None:
        return server
    # JAX keeps to itself where it found process 0.
    address = distributed.global_state.coordinator_address or ""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return Client((host, port), processes.index, processes.lost)
    except OSError as error:
        print(
            f"process {processes.index} cannot reach port {port} of {host} ({error}): "
            f"the loss of another is noticed only after {HEARTBEAT_SECONDS} s",
            file=sys.stderr,
        )
        return None
