"""Find what a name stands for, or the names that it may have meant."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from lars_jax.errors import InputError

P = TypeVar("P")


def find_preset(name: str, presets: Mapping[str, P]) -> P:
    """Return the preset called `name`.

    Args:
        name: as it was asked for.
        presets: every preset by its name, at least one.

    Raises:
        InputError: there is none; the message names the nearest ones.

    >>> find_preset("small", {"small": 1, "large": 2})
    1
    """
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name, presets, n=3)
    near = near or [known for known in presets if name and name in known][:3]
    advice = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"choose {next(iter(presets))}, or another that `list` shows"
    )
    raise InputError(
        f"preset must be one of the {len(presets)} known names; got {name!r}: {advice}"
    )
