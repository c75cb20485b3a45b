"""What a run's `config.json` says of the choices that were left to the machine.

On as many devices as before a run goes on in the same parts, whatever memory is free by
then, so that it ends in the same bits. On others parts may change. A span per device
would change the run itself, so it stays what it was where the run began.
"""

from collections.abc import Mapping
from typing import Any

import jax

from experiments.lars.config import Config, replace
from experiments.lars.trainer import Trainer


def resolved(trainer: Trainer) -> dict[str, Any]:
    """Return what the record of a run keeps of how its batch was cut."""
    return {
        "microbatches": trainer.config.microbatches,
        "bn_span": trainer.config.model.bn_span,
        "devices": trainer.inputs.parallel.num_devices,
        "reason": trainer.parts,
    }


def freeze_auto(config: Config, resolved: Mapping[str, Any]) -> Config:
    """Return a configuration with the span and the parts that its run, if begun, has.

    Args:
        config: as asked for.
        resolved: what its record keeps; empty where the run has not begun.

    >>> freeze_auto(Config(), {}) == Config()
    True
    """
    if config.model.bn_span == "per_device":
        config = replace(config, bn_span=resolved.get("bn_span", "per_device"))
    devices = jax.device_count() if config.devices is None else config.devices
    if config.microbatches == "auto" and devices == resolved.get("devices"):
        config = replace(config, microbatches=resolved["microbatches"])
    return config
