"""Fixtures of the optimizers' tests."""

from collections.abc import Iterator

import pytest

from tests.optim import forms


@pytest.fixture
def accelerated() -> Iterator[None]:
    """Take the steps of a test as an accelerator would."""
    with forms.accelerated():
        yield
