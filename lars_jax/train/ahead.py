"""A step that can be compiled before it is first called."""

from collections.abc import Callable
from typing import Any


class AheadOfTime:
    """A function as `jax.jit` or `jax.pmap` returned it, compiled once, when asked.

    A compilation that is part of the first call cannot be given up without giving up
    the arguments too, which that call may already have been given for good.

    Args:
        function: takes arrays; every call must bring the same shapes and shardings.

    >>> import jax, jax.numpy as jnp
    >>> double = AheadOfTime(jax.jit(lambda x: 2 * x))
    >>> double.compile(jnp.float32(3.0))
    >>> print(double.compiled, double(jnp.float32(3.0)))
    True 6.0
    """

    def __init__(self, function: Callable[..., Any]):
        self._function: Any = function
        self._executable: Any = None

    @property
    def compiled(self) -> bool:
        """Whether calls need no compilation any more."""
        return self._executable is not None

    def compile(self, *arguments: Any) -> None:
        """Compile for these arguments, or for what has their shapes; run nothing."""
        if self._executable is None:
            self._executable = self._function.lower(*arguments).compile()

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns."""
        self.compile(*arguments)
        return self._executable(*arguments)
