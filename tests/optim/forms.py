"""The form of a step that an accelerator would be given, on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax


@contextmanager
def accelerated() -> Iterator[None]:
    """Trace what is written for accelerators; what was traced before stays."""

    def chosen(*arguments: Any, default: Any = None, **platforms: Any) -> Any:
        return (default or platforms["cpu"])(*arguments)

    original, jax.lax.platform_dependent = jax.lax.platform_dependent, chosen
    try:
        yield
    finally:
        jax.lax.platform_dependent = original
