"""Accelerators that a step can be compiled for though none is here.

Numbers are those that the makers publish of a chip:
https://cloud.google.com/tpu/docs/v5e and its siblings for v2 to v6e and tpu7x.
"""

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from typing import Any

from lars_jax.errors import InputError

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """What a chip can do.

    Attributes:
        memory: bytes.
        bandwidth: bytes of its memory a second.
        flops: operations a second on bfloat16 products.
        links: bytes a second between it and all of its neighbours, both ways together.
    """

    memory: int
    bandwidth: float
    flops: float
    links: float


CHIPS = {
    "v2": Chip(16 * GIB, 700e9, 46e12, 248e9),
    "v3": Chip(32 * GIB, 900e9, 123e12, 328e9),
    "v4": Chip(32 * GIB, 1200e9, 275e12, 600e9),
    "v5e": Chip(16 * GIB, 819e9, 197e12, 400e9),
    "v5p": Chip(95 * GIB, 2765e9, 459e12, 1200e9),
    "v6e": Chip(32 * GIB, 1638e9, 918e12, 800e9),
    "tpu7x": Chip(192 * GIB, 7380e9, 2307e12, 1200e9),
}
"""TPUs by the name that a topology begins with."""


@dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
        name: as asked for, such as `v5e:16x16`.
        devices: all of them, which no array can be put on.
        chip: what each chip can do.
        per_chip: devices of a chip, which share it.
    """

    name: str
    devices: tuple[Any, ...]
    chip: Chip
    per_chip: int

    @property
    def memory(self) -> int:
        """Bytes that a device has."""
        return self.chip.memory // self.per_chip

    @property
    def bandwidth(self) -> float:
        """Bytes of memory a second of a device."""
        return self.chip.bandwidth / self.per_chip

    @property
    def flops(self) -> float:
        """Operations a second of a device on bfloat16 products."""
        return self.chip.flops / self.per_chip

    @property
    def links(self) -> float:
        """Bytes a second between a device and its neighbours, both ways together."""
        return self.chip.links / self.per_chip


def find_target(topology: str, slices: int = 1) -> Target:
    """Return devices that need not be here.

    Args:
        topology: `KIND:SIDES`, such as `v5e:16x16` or `v5p:4x4x4`.
        slices: how many of these, joined by a network.

    Raises:
        InputError: a kind that there is not, sides that it does not have, or no
            compiler for it.
    """
    kind, _, sides = topology.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", sides) or slices < 1:
        raise InputError(
            "a topology is KIND:SIDES of one slice or more, KIND of "
            f"{', '.join(CHIPS)}; got {topology} x {slices}: write one such as "
            "v5e:16x16"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"libtpu must be installed to compile for {kind}; it is not: "
            "pip install -e '.[aot-tpu]'"
        )
    chips = math.prod(map(int, sides.split("x")))
    options: dict[str, Any] = {} if slices == 1 else {"num_slices": slices}
    if chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if kind == "v4":
        # As JAX starts it: the two cores of a chip are one device.
        options["chip_config_name"] = "megacore"
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **options
        )
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"a topology must be one that its compiler knows; got {topology} x "
            f"{slices} ({reason}): write another, such as v5e:16x16"
        ) from error
    devices = list(found.devices)
    per_chip = len(devices) // (chips * slices)
    return Target(topology, tuple(devices), CHIPS[kind], per_chip)


def quiet_environment() -> dict[str, str]:
    """Return an environment in which a TPU's compiler looks for no TPU."""
    return dict(os.environ) | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
