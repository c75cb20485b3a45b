"""The experiment card: every run that has a name, and what it should give.

A preset is a complete `Config` with the place it comes from and the result to expect.
Names read network, batch, optimizer, then what sets the row apart:
`alexnet_bn_8k_lars`, `alexnet_4k_sgd_lr0.05`, `alexnet_bn_32k_lars_150ep`.
One configuration has one name, so a row that the paper shows twice is listed once, with
both places under `reproduces`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from experiments.lars.config import Config
from experiments.lars.presets.controls import CONTROLS
from experiments.lars.presets.local import LOCAL
from experiments.lars.presets.mlperf import MLPERF
from experiments.lars.presets.paper import PAPER
from lars_jax.runs import Preset, find_preset

__all__ = ["PRESETS", "Preset", "get_preset"]

PRESETS: Mapping[str, Preset[Config]] = MappingProxyType(
    {preset.name: preset for preset in (*LOCAL, *PAPER, *MLPERF, *CONTROLS)}
)
"""Every preset by name: what runs here first, then the paper in its own order."""


def get_preset(name: str) -> Preset[Config]:
    """Return the preset called `name`.

    Raises:
        InputError: there is none; the message names the nearest ones.

    >>> get_preset("alexnet_bn_8k_lars").config.optimizer.learning_rate
    14.0
    """
    return find_preset(name, PRESETS)
