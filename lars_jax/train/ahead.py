"""A step that can be compiled before it is first called."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lars_jax.train.interrupt import Interrupt


class AheadOfTime:
    """A function as `jax.jit` or `jax.pmap` returned it, compiled once, when asked.

    A compilation that is part of the first call cannot be given up without giving up
    the arguments too, which that call may already have been given for good.

    Args:
        function: takes arrays; every call must bring the same shapes and shardings.

    >>> import jax, jax.numpy as jnp
    >>> double = AheadOfTime(jax.jit(lambda x: 2 * x))
    >>> found = double.compile(jax.ShapeDtypeStruct((2, 3), "float32"))
    >>> found.memory_analysis().argument_size_in_bytes
    24
    >>> print(double.compiled, double(jnp.ones((2, 3))).sum())
    True 12.0
    """

    def __init__(self, function: Callable[..., Any]):
        self._function: Any = function
        self._executable: Any = None

    @property
    def compiled(self) -> bool:
        """Whether calls need no compilation any more."""
        return self._executable is not None

    def compile(self, *arguments: Any) -> Any:
        """Return the `jax.stages.Compiled` for these arguments, or for their shapes."""
        if self._executable is None:
            self._executable = self._function.lower(*arguments).compile()
        return self._executable

    def under(self, interrupt: Interrupt, *arguments: Any) -> Any:
        """Return what the function returns; a signal ends its compilation, not its run.

        Raises:
            Interrupted: the signal came.
        """
        if not self.compiled:
            interrupt.run(partial(self.compile, *arguments))
        return self(*arguments)

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns."""
        return self.compile(*arguments)(*arguments)
