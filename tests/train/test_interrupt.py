"""Signals become requests; a second one does what it always did."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lars_jax.train import Interrupt, Interrupted, interrupt


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signal_becomes_a_request_with_its_exit_status(number, status):
    previous = signal.signal(number, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            assert not interrupt.requested
            signal.raise_signal(number)
            assert interrupt.requested
            assert interrupt.exit_status == status
    finally:
        signal.signal(number, previous)


def test_second_signal_is_not_held_back():
    # A shell has background jobs ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert interrupt.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def signal_soon(number=signal.SIGTERM):
    """Send this process a signal a moment from now."""
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()


def test_wait_for_an_item_ends_with_the_signal():
    def items():
        yield 1
        time.sleep(60)
        yield 2

    started = time.monotonic()
    with Interrupt() as interrupt:
        waiting = interrupt.each(items())
        assert next(waiting) == 1
        signal_soon()
        with pytest.raises(Interrupted):
            next(waiting)
    assert time.monotonic() - started < 30


def test_work_in_a_thread_is_abandoned_at_the_signal():
    release = threading.Event()
    with Interrupt() as interrupt:
        signal_soon()
        with pytest.raises(Interrupted):
            interrupt.run(lambda: release.wait(60))
    release.set()


def test_error_of_the_work_is_its_own():
    with pytest.raises(ZeroDivisionError):
        Interrupt().run(lambda: 1 / 0)


def test_no_wait_begins_after_a_signal():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            next(interrupt.each([1]))


def test_process_among_others_leaves_its_waits_to_an_agreement():
    with Interrupt(alone=False) as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
        interrupt.check()
        assert list(interrupt.each([1])) == [1]
        assert interrupt.run(lambda: 2) == 2


PROGRAM = """
import signal, time
from interrupt import Interrupt
with Interrupt(grace=0.3) as interrupt:
    signal.raise_signal(signal.SIGTERM)
    {then}
    time.sleep({sleep})
print("came to its end")
"""


def run_program(**parts):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(**parts)],
        # The module alone, without the package around it, which imports JAX.
        env=os.environ | {"PYTHONPATH": str(Path(interrupt.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_process_that_reaches_no_step_ends_after_the_grace():
    done = run_program(then="pass", sleep=60)
    assert done.returncode == 143
    assert done.stdout == ""
    assert "no step ended within 0.3 s" in done.stderr


def test_process_that_honours_the_signal_may_take_longer_than_the_grace():
    done = run_program(then="interrupt.honoured()", sleep=1)
    assert (done.returncode, done.stdout) == (0, "came to its end\n")
