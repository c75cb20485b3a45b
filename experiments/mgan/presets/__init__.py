"""The experiment card: every game that has a name, and what it should give.

* `plane`: Section 5.1, eight Gaussians on a ring and the methods compared there; rings
  and grids with other numbers of modes, and of generators.
* `images`: Section 5.2, CIFAR-10, STL-10 and ImageNet at 32 pixels, and smaller games
  for one machine.
"""

from collections.abc import Mapping
from types import MappingProxyType

from experiments.mgan.config import Config
from experiments.mgan.presets.images import IMAGES
from experiments.mgan.presets.plane import PLANE
from lars_jax.runs import Preset, find_preset

__all__ = ["PRESETS", "Preset", "get_preset"]

PRESETS: Mapping[str, Preset[Config]] = MappingProxyType(
    {preset.name: preset for preset in (*PLANE, *IMAGES)}
)
"""Every preset by name."""


def get_preset(name: str) -> Preset[Config]:
    """Return the preset called `name`.

    Raises:
        InputError: there is none; the message names the nearest ones.

    >>> get_preset("cifar10").config.rules.generators
    10
    """
    return find_preset(name, PRESETS)
