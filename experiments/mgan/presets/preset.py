"""A named game."""

from dataclasses import dataclass
from typing import Literal

from experiments.mgan.config import Config


@dataclass(frozen=True)
class Preset:
    """A complete configuration under a name, with the result it should give."""

    name: str
    """What the command line calls it."""

    config: Config
    """The game."""

    reproduces: str
    """The figure, table or question it stands for, such as `Figure 2`."""

    expected: str
    """The published result, or what is known of it."""

    source: str
    """Where it is published."""

    status: Literal["run here", "not run"] = "not run"
    """Whether this repository holds a record of the run."""

    note: str = ""
    """What the source leaves open, and what was chosen for it."""
