"""Quick compilations for the tests of all experiments."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compilations() -> Iterator[None]:
    """Compile without optimisation: what is compiled here runs for a moment."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
