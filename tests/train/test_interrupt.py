"""Signals become requests; a second one does what it always did."""

import signal

import pytest

from lars_jax.train import Interrupt


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
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
