"""What a run's `config.json` says of the choices that were left to the machine.

On as many devices as before a run goes on in the same parts, whatever memory is free by
then, so that it ends in the same bits. On others parts may change. A span per device
would change the run itself, so it stays what it was where the run began.
"""

from pathlib import Path
from typing import Any

import jax

from experiments.lars.config import Config, replace
from experiments.lars.trainer import Trainer
from lars_jax.runs import read_run


def resolved(trainer: Trainer) -> dict[str, Any]:
    """Return what the record of a run keeps of how its batch was cut."""
    return {
        "microbatches": trainer.config.microbatches,
        "bn_span": trainer.config.model.bn_span,
        "devices": trainer.inputs.parallel.num_devices,
        "reason": trainer.parts,
    }


def pinned(config: Config, directory: Path) -> Config:
    """Return a configuration with the span and the parts that its run, if begun, has.

    Args:
        config: as asked for.
        directory: of the run; without a `config.json` there is nothing to keep to.

    >>> pinned(Config(), Path("nowhere")) == Config()
    True
    """
    if not (directory / "config.json").exists():
        return config
    found = read_run(directory).get("resolved", {})
    if config.model.bn_span == "per_device":
        config = replace(config, bn_span=found.get("bn_span", "per_device"))
    devices = jax.device_count() if config.devices is None else config.devices
    if config.microbatches == "auto" and devices == found.get("devices"):
        config = replace(config, microbatches=found["microbatches"])
    return config


def for_evaluation(config: Config, directory: Path) -> Config:
    """Return the configuration of a run that is not trained, in any parts.

    Where there are fewer devices than it was trained on, those that there are serve.
    """
    few = config.devices is not None and config.devices > jax.device_count()
    devices = None if few else config.devices
    return replace(pinned(config, directory), microbatches=1, devices=devices)
