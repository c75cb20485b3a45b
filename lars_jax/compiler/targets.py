"""Accelerators that a step can be compiled for though none is here.

Numbers are those that the makers publish of a chip:
https://docs.cloud.google.com/tpu/docs/v5e and its siblings for v2 to v6e and tpu7x, and
NVIDIA's data sheet of the H100 SXM.
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
    "v6e": Chip(32 * GIB, 1600e9, 918e12, 800e9),
    "tpu7x": Chip(192 * GIB, 7380e9, 2307e12, 1200e9),
}
"""TPUs by the name that a topology begins with."""

H100 = Chip(84_929_347_584, 3352e9, 989e12, 900e9)

GPUS = {"h100": H100}
"""GPUs by that name; their links join those of one machine."""

H100_FACTS = f"""
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: {H100.memory}
  memory_bandwidth: {H100.bandwidth:.0f}
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 13 }}
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""What XLA asks a GPU before it compiles for it, as a `GpuTargetConfigProto`."""


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
        topology: `KIND:SIDES` of a TPU, such as `v5e:16x16` or `v5p:4x4x4`; `h100`, or
            `h100:8` for as many in one machine.
        slices: how many of these, joined by a network.

    Raises:
        InputError: a kind that there is not, sides that it does not have, or no
            compiler for it.
    """
    whole = f"{topology}:1" if topology in GPUS else topology
    kind, _, sides = whole.partition(":")
    form = r"[1-9]\d*" if kind in GPUS else r"[1-9]\d*(x[1-9]\d*){1,2}"
    if kind not in CHIPS | GPUS or not re.fullmatch(form, sides) or slices < 1:
        raise InputError(
            f"a topology is KIND:SIDES of one slice or more, KIND of {', '.join(CHIPS)}"
            f", or {', '.join(GPUS)}:NUMBER; got {topology} x {slices}: write one such "
            "as v5e:16x16 or h100:8"
        )
    chips = math.prod(map(int, sides.split("x")))
    package, extra, options = (
        _cuda(chips, slices) if kind in GPUS else _tpu(topology, chips, slices)
    )
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{package} must be installed to compile for {kind}; it is not: "
            f"pip install -e '.[{extra}]'"
        )
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(**options)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"a topology must be one that its compiler knows; got {topology} x "
            f"{slices} ({reason}): write another, such as v5e:16x16"
        ) from error
    devices = list(found.devices)
    per_chip = len(devices) // (chips * slices)
    return Target(topology, tuple(devices), (CHIPS | GPUS)[kind], per_chip)


def _tpu(topology: str, chips: int, slices: int) -> tuple[str, str, dict[str, Any]]:
    """Return the package, the extra that brings it, and what JAX is asked for."""
    options: dict[str, Any] = {"platform": "tpu", "topology_name": topology}
    if slices > 1:
        options["num_slices"] = slices
    if chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if topology.startswith("v4:"):
        # As JAX starts it: the two cores of a chip are one device.
        options["chip_config_name"] = "megacore"
    return "libtpu", "aot-tpu", options


def _cuda(chips: int, slices: int) -> tuple[str, str, dict[str, Any]]:
    options = {
        "platform": "cuda",
        # Slices, machines in each, devices in each.
        "topology": f"{slices}x1x{chips}",
        "target_config": H100_FACTS,
    }
    return "jax_cuda13_plugin", "aot-cuda", options


def quiet_environment() -> dict[str, str]:
    """Return an environment in which compilers look for no TPU and no GPU."""
    flags = os.environ.get("XLA_FLAGS", "")
    return dict(os.environ) | {
        # Tuning would run candidates on a device.
        "XLA_FLAGS": f"{flags} --xla_gpu_autotune_level=0".strip(),
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
