"""Start the processes of one run on this machine, one device each."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lars_jax.train.record import read_lines

ROOT = Path(__file__).parents[2]
SECONDS = 240
"""After which a process that should long have ended is killed."""


def free_port() -> int:
    """Return a port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Local:
    """The processes of a run, each with what it says in a file of its own."""

    def __init__(
        self,
        count: int,
        scratch: Path,
        *words: str,
        module: str = "experiments.lars",
        seconds: float = SECONDS,
    ):
        self._seconds = seconds
        address = ["--coordinator", f"127.0.0.1:{free_port()}"]
        among = ["--num-processes", str(count), "--process-id"]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
        self._said = [scratch / f"said.{index}.{time.time()}" for index in range(count)]
        self.processes = []
        for index, path in enumerate(self._said):
            own = [*words, *address, *among, str(index)] if count > 1 else [*words]
            with path.open("w") as file:
                command = [sys.executable, "-m", module, *own]
                self.processes.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stderr=file)
                )

    def send(self, index: int, number: int) -> None:
        """Send a signal to one of them."""
        self.processes[index].send_signal(number)

    def end(self, *expected: int) -> None:
        """Wait for all of them, and fail with all they said unless they end so."""
        found = self.wait()
        said = "\n".join(f"-- {i}\n{self.said(i)}" for i in range(len(found)))
        assert tuple(found) == expected, f"{found}, not {expected}\n{said}"

    def wait(self) -> list[int]:
        """Return how each of them ended."""
        deadline = time.monotonic() + self._seconds
        try:
            return [
                process.wait(max(0.1, deadline - time.monotonic()))
                for process in self.processes
            ]
        finally:
            for process in self.processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.wait()

    def said(self, index: int) -> str:
        """Return what one of them has said."""
        return self._said[index].read_text()

    def wait_for_step(self, directory: Path, step: int) -> None:
        """Return once the run has logged a step."""
        deadline = time.monotonic() + self._seconds
        while True:
            rows = list(read_lines(directory / "metrics.jsonl"))
            if rows and rows[-1]["step"] >= step:
                return
            assert all(process.poll() is None for process in self.processes), [
                self.said(index) for index in range(len(self.processes))
            ]
            assert time.monotonic() < deadline
            time.sleep(0.02)
