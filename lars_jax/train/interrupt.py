"""Turn SIGINT and SIGTERM into a request that every phase of a run can honour."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import NoReturn, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """A signal ended a wait before what was waited for had come."""


class Interrupt:
    """Within the block, Ctrl-C and SIGTERM ask instead of ending the process.

    Between steps whoever runs them asks `requested`. In a long wait nobody does: a wait
    inside `each` or `run` ends with `Interrupted` as soon as a signal comes. A second
    signal of the same kind does what it always does, for whoever cannot wait.

    Args:
        grace: seconds after a signal in which `honoured` must have been called, or the
            process ends with `exit_status` and a line that says so; None: no limit. A
            step or a compilation that never ends is not to cost the time in which a
            scheduler lets others save.
        alone: whether this process may stop where it is. One that computes with others
            must agree with them on a step first.

    >>> with Interrupt() as interrupt:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print(interrupt.requested, interrupt.exit_status)
    True 143
    """

    def __init__(self, *, grace: float | None = None, alone: bool = True) -> None:
        self._grace = grace
        self._alone = alone
        self._waiting = False
        self._received: int | None = None
        self._timer: threading.Timer | None = None
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._received is not None

    @property
    def exit_status(self) -> int:
        """What a process that stops for this signal exits with: 128 + its number."""
        return 0 if self._received is None else 128 + self._received

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come that this process may honour alone.

        Among others it leaves that to the loops, which agree: see `lars_jax.train.fit`.
        """
        if self._alone and self.requested:
            raise Interrupted

    def honoured(self) -> None:
        """Say that the run has stopped: what follows may take longer than the grace."""
        if self._timer is not None:
            self._timer.cancel()

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, and end the wait for one when a signal comes.

        Raises:
            Interrupted: a signal came while the next item was waited for.

        >>> list(Interrupt().each("ab"))
        ['a', 'b']
        """
        iterator = iter(items)
        while True:
            try:
                with self._wait():
                    item = next(iterator)
            except StopIteration:
                return
            yield item

    def run(self, function: Callable[[], T]) -> T:
        """Return what a function returns, and end the wait for it when a signal comes.

        It runs in a thread of its own, which is abandoned then: Python cannot stop a
        compilation, nor hear a signal within one. It must change nothing that whoever
        stops the run still needs.

        Raises:
            Interrupted: a signal came first.

        >>> Interrupt().run(lambda: 6 * 7)
        42
        """
        if not self._alone:
            return function()
        found: Future[T] = Future()

        def work() -> None:
            try:
                found.set_result(function())
            except BaseException as error:
                found.set_exception(error)

        thread = threading.Thread(target=work, daemon=True, name=_ABANDONED)
        with self._wait():
            thread.start()
            thread.join()
        return found.result()

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.honoured()
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    @contextlib.contextmanager
    def _wait(self) -> Iterator[None]:
        self._waiting = True
        try:
            self.check()
            yield
        finally:
            self._waiting = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        first = not self.requested
        self._received = number
        signal.signal(number, self._previous[number])  # pyright: ignore[reportArgumentType]
        if first and self._grace is not None:
            self._timer = threading.Timer(self._grace, self._give_up)
            self._timer.daemon = True
            self._timer.start()
        if self._waiting:
            self.check()

    def _give_up(self) -> None:
        print(
            f"no step ended within {self._grace:g} s of the signal; stopped as it was: "
            "--resume goes on from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        end_now(self.exit_status)


NEVER = Interrupt()
"""No signal comes."""

_ABANDONED = "lars_jax.train.interrupt"


def end(status: int) -> NoReturn:
    """End the process with an exit status, whatever threads are still at work.

    Python would not wait for those of `Interrupt.run`, but the compiler's threads do
    not survive the end of the interpreter around them. It would wait for those of a
    save that failed, which wait for one another for five minutes.
    """
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    if any(t.name == _ABANDONED or (status and not t.daemon) for t in others):
        end_now(status)
    sys.exit(status)


def end_now(status: int) -> NoReturn:
    """End the process with an exit status, and nothing but its output finished."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
