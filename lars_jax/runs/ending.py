"""How a command ends: its exit status, and the line that says why.

0    done
2    the input cannot be used
3    training became NaN or infinite
75   another process of the run was lost: start all of them again
130  stopped by Ctrl-C, saved
143  stopped by SIGTERM, saved
"""

import os
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
        return _complain(str(FileError(error.filename or "a file", "used", error)))
    if isinstance(error, KeyboardInterrupt):
        print("stopped without saving", file=sys.stderr)
        return 130
    return None


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
    print(f"error: {line}", file=sys.stderr)
    return 2
