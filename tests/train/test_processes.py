"""What the first of several processes does for all, as one process sees it."""

import errno

import jax
import pytest

from lars_jax.errors import FileError, InputError
from lars_jax.train import processes


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    multihost = processes.multihost_utils
    monkeypatch.setattr(multihost, "broadcast_one_to_all", lambda words: words)


def test_answer_goes_to_all(two):
    assert processes.on_first(lambda: {"step": 3}) == {"step": 3}


@pytest.mark.parametrize(
    "error",
    [
        FileError("state", "read", OSError(errno.EIO, "Input/output error")),
        InputError("a checkpoint must be whole"),
    ],
)
def test_error_keeps_its_kind(two, error):
    # What the system refuses to read may be whole, and must not be set aside.
    def work():
        raise error

    with pytest.raises(InputError) as found:
        processes.on_first(work)
    assert type(found.value) is type(error)
    assert str(found.value) == str(error)
    assert vars(found.value) == vars(error)
