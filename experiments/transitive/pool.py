"""The same work on each of many files, in several processes, until a signal ends it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from typing import Protocol, TypeVar

from experiments.transitive.progress import Progress
from lars_jax.errors import FileError, InputError
from lars_jax.train import Interrupt, Interrupted

J = TypeVar("J", contravariant=True)
R = TypeVar("R", covariant=True)

Check = Callable[[], None]
"""Is called often during long work, and raises to end it."""

LOOK = 0.1
"""Seconds between two looks whether a signal has come."""


class Work(Protocol[J, R]):
    """What is done for a job; a function of a module, for other processes to find."""

    def __call__(self, job: J, check: Check, /) -> R:
        """Return the result of a job."""
        ...


def run_jobs(
    work: Work[J, R],
    jobs: Sequence[J],
    *,
    processes: int,
    interrupt: Interrupt,
    crashed: Callable[[J], R],
    title: str,
    amount: Callable[[R], int] = lambda result: 1,
    unit: str = "frame",
) -> list[R]:
    """Return the result of every job, in the order of the jobs.

    Args:
        work: the function; for more than one process jobs and results are pickled.
        jobs: its arguments.
        processes: how many work at a time; 1: this one, which a crash then ends.
        interrupt: ends the work on a signal.
        crashed: the result of a job that ended its process, as damaged files may.
        title: what the bar says.
        amount: how much of `unit` a result stands for in the rate that is shown.
        unit: what the rate counts.

    Raises:
        Interrupted: a signal came; jobs that were on their way have been ended.
        Exception: what `work` raises.

    >>> def double(job, check):
    ...     return 2 * job
    >>> run_jobs(double, [1, 2], processes=1, interrupt=Interrupt(), title="double",
    ...     crashed=lambda job: 0)
    [2, 4]
    """
    found: dict[int, R] = {}
    with Progress(len(jobs), title, unit) as progress:
        if processes == 1:
            results = ((k, work(job, interrupt.check)) for k, job in enumerate(jobs))
        else:
            results = _in_processes(work, jobs, processes, interrupt, crashed)
        with closing(results):
            for number, result in results:
                interrupt.check()
                found[number] = result
                progress.add(amount(result))
    return [found[number] for number in range(len(jobs))]


def _in_processes(
    work: Work[J, R],
    jobs: Sequence[J],
    processes: int,
    interrupt: Interrupt,
    crashed: Callable[[J], R],
) -> Generator[tuple[int, R], None, None]:
    remaining = dict(enumerate(jobs))
    while remaining:
        try:
            for number, result in _among(work, remaining, processes, interrupt):
                del remaining[number]
                yield number, result
        except BrokenProcessPool:
            # Which of them ended its process nobody knows, but they begin in order:
            # each of the first gets a process of its own.
            for number in list(remaining)[: 2 * processes + 2]:
                job = remaining.pop(number)
                try:
                    yield from _among(work, {number: job}, 1, interrupt)
                except BrokenProcessPool:
                    yield number, crashed(job)


def _among(
    work: Work[J, R], jobs: dict[int, J], processes: int, interrupt: Interrupt
) -> Generator[tuple[int, R], None, None]:
    context = _context()
    stop = context.Event()
    with ProcessPoolExecutor(
        max(1, min(processes, len(jobs))), context, _begin, (stop,)
    ) as pool:
        futures: dict[Future[R], int] = {
            pool.submit(_do, work, job): number for number, job in list(jobs.items())
        }
        try:
            for future in interrupt.each(as_completed(futures)):
                yield futures[future], future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class SingleProcess:
    """A process that does one job after another; one that a job ends is replaced."""

    def __init__(self) -> None:
        self._stop: Event | None = None
        self._pool: ProcessPoolExecutor | None = None

    def run(
        self, work: Work[J, R], job: J, check: Check, crashed: Callable[[J], R]
    ) -> R:
        """Return the result of a job, in any thread.

        Args:
            work: of `run_jobs`.
            job: its argument.
            check: is called often meanwhile; what it raises ends the process.
            crashed: of `run_jobs`.

        Raises:
            Exception: what `work` or `check` raises.
        """
        check()
        try:
            if self._pool is None:
                context = _context()
                self._stop = context.Event()
                self._pool = ProcessPoolExecutor(1, context, _begin, (self._stop,))
            future = self._pool.submit(_do, work, job)
            # Signals are heard by the main thread alone, so this one has to look.
            while not wait([future], LOOK).done:
                check()
            return future.result()
        except BrokenProcessPool:
            self.close()
            return crashed(job)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process, and what it is at."""
        if self._stop is not None and self._pool is not None:
            self._stop.set()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _context() -> BaseContext:
    """Return how processes start: not forked from this one, which has threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # What takes long to import is imported once for all of them.
    context.set_forkserver_preload(["lars_jax.train"])
    return context


_stop: Event | None = None


def _begin(stop: Event) -> None:
    """Make this process ready: whoever started it hears signals, and ends it."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        # Killed, it says no goodbye, and this process would wait for jobs for ever.
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _do(work: Work[J, R], job: J) -> R:
    try:
        return work(job, _check)
    except FileError as error:
        # Its three arguments do not survive the way to another process.
        raise InputError(str(error)) from error


def _check() -> None:
    if _stop is not None and _stop.is_set():
        raise Interrupted
