"""Machines that no step was timed on, by what their makers publish.

Every number is an `Assumption` with its unit and its source; "assumed" stands where no
source was found. From them follows how long an exchange takes at the speed of the
links: an all-reduce of B bytes over a ring of n devices sends 2 (n - 1) / n B from each
(https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md), and a torus is a
ring in each of its directions at once.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

CLOUD_TPU = "https://docs.cloud.google.com/tpu/docs/v5e"
SCALING_BOOK = "https://jax-ml.github.io/scaling-book"
H100_SHEET = (
    "NVIDIA's H100 SXM data sheet, as copied at "
    "https://archive-lib.hpctech.co.jp/gpuproduct/nvidia-h100.html"
)
BASEPOD = (
    "https://docs.nvidia.com/dgx-basepod/reference-architecture-infrastructure-"
    "foundation-enterprise-ai/latest/core-components.html"
)
ASSUMED = "assumed"


class Assumption(NamedTuple):
    """A number that an estimate stands on."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Machine:
    """What an estimate must know of a machine.

    Attributes:
        name: name in tables.
        devices_per_host: chips or GPUs that one host feeds.
        peak: operations of bfloat16 products of a device, dense.
        memory: bandwidth of a device's memory.
    """

    name: str
    devices_per_host: int
    peak: Assumption
    memory: Assumption

    @property
    def devices(self) -> int:
        """Number of chips or GPUs."""
        raise NotImplementedError

    def all_reduce_seconds(self, size: float) -> float:
        """Return how long an all-reduce of `size` bytes over all devices takes."""
        raise NotImplementedError

    def assumptions(self) -> dict[str, Assumption]:
        """Return every number that the machine is made of, by name."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v for k, v in held.items() if isinstance(v, Assumption)}


@dataclass(frozen=True)
class Torus(Machine):
    """Chips in a torus whose every direction is a full ring.

    Attributes:
        shape: chips in each direction.
        links: bytes that a chip sends over all of its links together.
        hop: time of the first byte over one link.
    """

    shape: tuple[int, ...]
    links: Assumption
    hop: Assumption

    @property
    def devices(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    def all_reduce_seconds(self, size: float) -> float:
        """Return the time of hops and of bytes, one after the other.

        A reduce-scatter and an all-gather each go half around every ring, both ways.
        """
        hops = 2 * sum(side // 2 for side in self.shape)
        sent = 2 * (self.devices - 1) / self.devices * size
        return hops * self.hop.value + sent / self.links.value


@dataclass(frozen=True)
class Nodes(Machine):
    """Nodes of GPUs with a fast network inside and a slower one between.

    Attributes:
        nodes: number of nodes.
        inside: bytes that a GPU sends to the others of its node.
        between: bytes that a GPU sends to other nodes, over an adapter of its own.
        start: time of an all-reduce of next to nothing.
    """

    nodes: int
    inside: Assumption
    between: Assumption
    start: Assumption

    @property
    def devices(self) -> int:
        """Number of GPUs."""
        return self.nodes * self.devices_per_host

    def all_reduce_seconds(self, size: float) -> float:
        """Return the time of a reduction in two levels.

        Inside each node a reduce-scatter; between nodes, for each GPU's part, an
        all-reduce over its own adapter; inside again an all-gather.
        """
        local, nodes = self.devices_per_host, self.nodes
        sent_inside = 2 * (local - 1) / local * size
        sent_between = 2 * (nodes - 1) / nodes * size / local
        return (
            self.start.value
            + sent_inside / self.inside.value
            + sent_between / self.between.value
        )


V5E_256 = Torus(
    name="TPU v5e-256",
    shape=(16, 16),
    devices_per_host=8,
    peak=Assumption(197e12, "FLOP/s", CLOUD_TPU),
    memory=Assumption(819e9, "byte/s", CLOUD_TPU),
    # Full rings exist at a side of 16: Part 2 of the book.
    links=Assumption(
        200e9,
        "byte/s",
        f"{CLOUD_TPU}: 400 GB/s a chip counting both ways, 51.2 TB/s of all-reduce for "
        "256 chips",
    ),
    hop=Assumption(1e-6, "s", f"{SCALING_BOOK}/sharding: typically around 1 us a hop"),
)
"""A whole v5e pod, a torus of 16 x 16 chips."""

H100_64 = Nodes(
    name="64 H100",
    nodes=8,
    devices_per_host=8,
    peak=Assumption(
        989e12, "FLOP/s", f"{H100_SHEET}: 1,979 with sparsity, half without"
    ),
    memory=Assumption(3.35e12, "byte/s", H100_SHEET),
    inside=Assumption(
        450e9, "byte/s", f"{H100_SHEET}: NVLink, 900 GB/s counting both ways"
    ),
    between=Assumption(
        50e9, "byte/s", f"{BASEPOD}: an adapter of 400 Gb/s for each of eight GPUs"
    ),
    start=Assumption(30e-6, "s", ASSUMED),
)
"""Eight nodes of eight H100 SXM, NVLink inside and InfiniBand between."""

MACHINES: tuple[Machine, ...] = (V5E_256, H100_64)
