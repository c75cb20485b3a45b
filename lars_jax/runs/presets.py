"""Named configurations, and what a name stands for or may have meant."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from lars_jax.errors import InputError

C = TypeVar("C")
P = TypeVar("P")


@dataclass(frozen=True)
class Preset(Generic[C]):
    """A complete configuration under a name, with the result it should give."""

    name: str
    """What the command line calls it."""

    config: C
    """The run."""

    reproduces: str
    """The row, curve or question it stands for, such as `Table 3b, row 3`."""

    expected: str
    """The published result, or what is known of it."""

    source: str
    """Where it and its result are published."""

    status: Literal["run here", "not run"] = "not run"
    """Whether this repository holds a record of the run."""

    note: str = ""
    """What the source leaves open, and what was chosen for it."""


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


def overview(presets: Mapping[str, Preset[C]]) -> list[str]:
    """Return a line for each preset: its name, and what it reproduces.

    >>> small = Preset("small", None, "Table 1", "90 %", "https://arxiv.org")
    >>> overview({"small": small})
    ['small  Table 1; expected 90 % [not run]']
    """
    width = max(map(len, presets), default=0)
    return [f"{name:{width}}  {_claim(preset)}" for name, preset in presets.items()]


def heading(preset: Preset[C]) -> list[str]:
    """Return the lines above a description of a preset: its claim, source and note.

    >>> small = Preset("small", None, "Table 1", "90 %", "https://arxiv.org")
    >>> heading(small)
    ['small: Table 1; expected 90 % [not run]', 'source: https://arxiv.org', '']
    """
    note = [f"note: {preset.note}"] if preset.note else []
    return [f"{preset.name}: {_claim(preset)}", f"source: {preset.source}", *note, ""]


def _claim(preset: Preset[C]) -> str:
    return f"{preset.reproduces}; expected {preset.expected} [{preset.status}]"
