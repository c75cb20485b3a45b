"""What is compiled in these tests runs for a moment."""

import pytest


@pytest.fixture(scope="package", autouse=True)
def _quick(quick_compilations: None) -> None:
    """Compile without optimisation."""
