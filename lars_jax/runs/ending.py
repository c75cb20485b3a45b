"""How a command ends: its exit status, and the line that says why.

0    done
2    the input cannot be used
3    training became NaN or infinite
75   another process of the run was lost: start all of them again
130  stopped by Ctrl-C, saved
143  stopped by SIGTERM, saved
"""

import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from lars_jax.errors import FileError, InputError
from lars_jax.train import NonFiniteError
from lars_jax.train.processes import Processes

TERMINATED = 143
"""Exit status of a process that SIGTERM ended, or that stops with one that it ended."""


def report_error(error: BaseException) -> int | None:
    """Say in a line what went wrong; return the exit status, or None for a defect."""
    if isinstance(error, InputError):
        return _complain(str(error))
    if isinstance(error, NonFiniteError):
        _complain(str(error))
        return 3
    if isinstance(error, BrokenPipeError):
        # The reader, `head` perhaps, has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or "standard output or a file"
        return _complain(str(FileError(place, "used", error)))
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        why = " ".join(str(error).split())[:200] or "out of memory"
        return _complain(
            f"memory must hold state, batch and data; it does not ({why}): lower the "
            "batch or the network, or use more devices"
        )
    if str(error).startswith("Unable to initialize backend"):
        return _complain(" ".join(str(error).split()))
    if isinstance(error, KeyboardInterrupt):
        print("stopped without saving", file=sys.stderr)
        return 130
    return None


def status_of(work: Callable[[], int | None]) -> int:
    """Return the exit status of a command, once a line has said what it cannot do.

    Args:
        work: returns the status, or None for 0; what it raises is reported, a defect
            raised again.

    >>> status_of(lambda: None)
    0
    """
    try:
        return work() or 0
    except BaseException as error:
        status = report_error(error)
        if status is None:
            raise
        return status


_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|[Oo]ut of memory")


def run_among(processes: Processes, run: Callable[[], int]) -> NoReturn:
    """Run, and end this process in a way that leaves no other one waiting."""
    try:
        processes.leave(run(), agreed=True)
    except BaseException as error:
        status = report_error(error)
        if status is None:
            processes.wait_for_news()
            traceback.print_exception(error)
        processes.leave(1 if status is None else status, agreed=False)


def _complain(line: str) -> int:
    # Of names that came from outside, a line ends no message and a bell does not ring.
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    with contextlib.suppress(OSError):
        print(f"error: {plain}", file=sys.stderr)
    return 2
