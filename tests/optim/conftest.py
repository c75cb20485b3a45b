"""Fixtures of the optimizers' tests."""

from collections.abc import Iterator

import jax
import pytest

from tests.optim import forms


@pytest.fixture(autouse=True, scope="package")
def nothing_drawn() -> Iterator[None]:
    """Check no keys: an optimizer has none, and every operation is slower for it."""
    with jax.debug_key_reuse(False):
        yield


@pytest.fixture
def accelerated() -> Iterator[None]:
    """Take the steps of a test as an accelerator would."""
    with forms.accelerated():
        yield
