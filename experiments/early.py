"""Ctrl-C while a command's libraries are still being imported: a line, and the end.

Python would end in a traceback of whatever was being imported, or, within a callback of
a library, print one and go on. Importing this module first is what helps; `over` gives
Ctrl-C back once there is something that can stop in order.
"""

import os
import signal
from typing import Any


def _stop(*args: Any) -> None:
    os.write(2, b"stopped before anything was begun\n")
    os._exit(130)


def over() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Where it is ignored, as of what a shell has put in the background, it stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop)
