"""Numbers of an optimizer, which may be traced, and what is refused in their place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Scalar = float | jax.Array
"""A number, which may be traced."""


def require_number(
    name: str,
    value: Any,
    *,
    below: Any = float("inf"),
    positive: bool = False,
    schedule: bool = False,
) -> None:
    """Refuse what is no number from zero on, functions too unless `schedule` is set.

    Arrays of JAX may be traced: only their shape and dtype are looked at.
    """
    if schedule and callable(value):
        return
    real = _is_real(value)
    if real and isinstance(value, jax.Array):
        return
    if not real or not 0 <= value < below or positive and value == 0:
        least = "above 0" if positive else "at least 0"
        bound = "" if below == float("inf") else f" and below {below}"
        other = ", or a schedule" if schedule else ""
        way = "it through optax.inject_hyperparams" if callable(value) else "one"
        raise ValueError(
            f"{name} must be a finite number, {least}{bound}{other}; got "
            f"{_shown(value)}: pass {way}"
        )


def require_bool(name: str, value: Any) -> None:
    """Refuse what is merely true or false in an `if`, as the text "no" is."""
    if not isinstance(value, bool):
        raise ValueError(
            f"{name} must be True or False; got {_shown(value)}: pass one of them"
        )


def at_step(name: str, value: Any, count: jax.Array) -> Any:
    """Return a number, or what its schedule has for this step."""
    if not callable(value):
        return value
    found = value(count)
    if not _is_real(found):
        raise ValueError(
            f"the schedule of {name} must return one real number; got "
            f"{_shown(found)}: return a scalar for each step"
        )
    return found


def _is_real(value: Any) -> bool:
    kinds = int | float | np.number | np.ndarray | jax.Array
    if not isinstance(value, kinds) or np.ndim(value):
        return False
    dtype = getattr(value, "dtype", type(value))
    return any(jnp.issubdtype(dtype, kind) for kind in (np.integer, np.floating))


def _shown(value: Any) -> str:
    """Return an array's dtype and shape, whose entries may fill pages, or the value."""
    shape = np.shape(value) if hasattr(value, "dtype") else ()
    return f"{value.dtype}{list(shape)}" if shape else repr(value)
