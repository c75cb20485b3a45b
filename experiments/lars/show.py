"""What a preset is, told without running it: settings, parameters, memory.

Everything comes from shapes alone and takes seconds, but for one thing: with
`--device-memory` a step is compiled for this machine, to say what fits such a device.
"""

from collections.abc import Iterator

import jax
from jax.sharding import AbstractMesh

from experiments.lars.ahead import assumed_data, assumed_setting
from experiments.lars.config import Config
from experiments.lars.microbatches import (
    choose_microbatches,
    device_memory,
    with_microbatches,
)
from experiments.lars.program import ImageFacts, state_shapes
from experiments.lars.shapes import (
    CLASSES,
    assumed_facts,
    device_bytes,
)
from lars_jax.runs.show import parameter_table, settings
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.parallel import AXIS


def describe(config: Config) -> Iterator[str]:
    """Yield the lines of `show`: settings, parameter table, memory estimate."""
    yield from settings(config)
    if config.data.dataset not in CLASSES:
        yield f"({config.data.dataset} is not opened: taken to be like ImageNet)"
    facts = assumed_facts(config)
    cut, reason = _cut(config, facts)
    devices = config.devices or jax.device_count()
    # The devices need not exist here.
    state = state_shapes(cut, facts, AbstractMesh((devices,), (AXIS,)))
    yield ""
    yield from parameter_table(state.params)
    yield ""
    yield f"micro-batches: {reason}"
    yield f"memory of each of {devices} devices at full size, from shapes alone:"
    rows = device_bytes(cut, facts, state, devices, assumed_data(cut, facts)[0])
    for name, value in (rows | {"sum": sum(rows.values())}).items():
        yield f"  {name:34} {value / 2**20:14,.1f} MiB"


def _cut(config: Config, facts: ImageFacts) -> tuple[Config, str]:
    """Return the configuration with its parts as numbers, and a line about them."""
    if config.device_memory is None:
        # The devices need not exist here.
        asked, devices = config.microbatches, config.devices or 1
        if asked != "auto":
            return with_microbatches(config, asked, devices), f"{asked}, as asked"
        whole = with_microbatches(config, 1, devices)
        return whole, "as few as fit, here one; --device-memory GIB tells how many"
    parallel = DataParallel(data_mesh(config.devices), config.backend)
    setting = assumed_setting(config, parallel)
    found = choose_microbatches(config, setting, device_memory(config, parallel))
    return found.config, found.reason
