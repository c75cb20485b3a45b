"""Notice at once that another process of a run has gone.

A process that computes with others learns of a lost one when a collective fails, which
on GPUs may be never; one that compiles or reads learns nothing until heartbeats stop.
The kernel closes the sockets of a dead process in the moment that it dies, so every
process holds one to process 0. A dead machine closes nothing: that is left to the
heartbeats of `jax.distributed`.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import IO, Literal

Goodbye = Literal["bye", "failed"]
"""What a process says before it goes: that it has finished, or will exit in error."""

Lost = Callable[[str, bool], None]
"""Called from a thread, once: which process went and how, and whether by an error."""


class Server:
    """The end that process 0 holds.

    Args:
        others: number of other processes.
        lost: see `Lost`.
    """

    def __init__(self, others: int, lost: Lost):
        self._socket = socket.create_server(("", 0), backlog=others)
        self._others = others
        self._lost = lost
        self._noticed = threading.Lock()
        self._connections: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]
        _start(self._accept)

    def close(self, word: Goodbye) -> None:
        """Tell all others how this process goes, also those that have said goodbye."""
        for connection in self._connections:
            _say(connection, word)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError), self._socket:
            for _ in range(self._others):
                connection, _ = self._socket.accept()
                self._connections.append(connection)
                _start(lambda connection=connection: self._listen(connection))

    def _listen(self, connection: socket.socket) -> None:
        # The first line is its number, the second its goodbye.
        with connection.makefile("r") as lines:
            name = f"process {_read(lines) or '(not yet named)'}"
            word = _read(lines)
        if word == "bye":
            return
        # Never released: the losses that follow the first one are its consequence.
        if not self._noticed.acquire(blocking=False):
            return
        words = f"{name} {_WORDS.get(word, _KILLED)}"
        for other in self._connections:
            _say(other, words)
        self._lost(words, word == "failed")


class Client:
    """The end that every other process holds.

    Args:
        address: host and port of the server.
        process_id: number of this process.
        lost: see `Lost`.

    Raises:
        OSError: the server cannot be reached.
    """

    def __init__(self, address: tuple[str, int], process_id: int, lost: Lost):
        self._connection = socket.create_connection(address, timeout=10)
        self._connection.settimeout(None)
        self._lost = lost
        _say(self._connection, str(process_id))
        _start(self._listen)

    def close(self, word: Goodbye) -> None:
        """Tell process 0 how this process goes, also if that one went before."""
        _say(self._connection, word)
        self._connection.close()

    def _listen(self) -> None:
        with self._connection.makefile("r") as lines:
            word = _read(lines)
        if word != "bye":
            own = f"process 0 {_WORDS.get(word, _KILLED)}"
            words = word if word.startswith("process") else own
            self._lost(words, words.endswith(_WORDS["failed"]))


_KILLED = "was lost (killed, out of memory, or its machine went down)"
_WORDS = {"failed": "ended with an error of its own"}


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _say(connection: socket.socket, word: str) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(f"{word}\n".encode())


def _read(lines: IO[str]) -> str:
    """Return the next line, or nothing where the other end has closed."""
    with contextlib.suppress(OSError):
        return lines.readline().strip()
    return ""
