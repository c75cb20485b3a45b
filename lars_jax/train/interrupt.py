"""Turn SIGINT and SIGTERM into a request that the loop can honour."""

import signal
from types import FrameType, TracebackType


class Interrupt:
    """Within the block, Ctrl-C and SIGTERM ask instead of ending the process.

    A second signal of the same kind does what it always does, for whoever cannot wait.

    >>> with Interrupt() as interrupt:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print(interrupt.requested, interrupt.exit_status)
    True 143
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._received is not None

    @property
    def exit_status(self) -> int:
        """What a process that stops for this signal exits with: 128 + its number."""
        return 0 if self._received is None else 128 + self._received

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
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received = number
        signal.signal(number, self._previous[number])  # pyright: ignore[reportArgumentType]
