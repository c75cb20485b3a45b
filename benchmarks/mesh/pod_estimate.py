"""What 32,768 examples a step should cost on machines that no step was timed on.

    python -m benchmarks.mesh.pod_estimate

Nothing here is a measurement of speed. Bytes are counted, from shapes and again in the
program that XLA compiles for eight virtual devices, and so are products; times follow
by division from the numbers that makers publish:

    compute    3 passes x 2 x products x images of a device / (utilisation x peak)
    optimizer  7 arrays of the parameters' size / bandwidth of memory
    exchange   all-reduce of the gradients and of the running statistics
    norm       an all-reduce for each normalisation, forwards and backwards, where its
               span covers several devices; nothing can be done in the meantime

Every number has its unit and its source; "assumed" stands where none was found.
Efficiency is compute and optimizer over the whole step, all one after the other or with
as much of the exchange hidden as the backward pass, two thirds of compute, can hide.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from benchmarks.common.records import write_record
from benchmarks.common.steps import MeshStep
from benchmarks.mesh.collectives import collectives, exchanged_bytes
from experiments.lars.config import Config, ModelConfig
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_network
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend

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
        devices: number of chips or GPUs.
        devices_per_host: how many of them one host feeds.
        numbers: `peak`, operations of bfloat16 products of a device, dense; `memory`,
            its bandwidth; and those that the next two name.
        waits: how often an all-reduce waits for each time.
        sent: bytes that a device sends at each speed, for each byte of an all-reduce.
    """

    name: str
    devices: int
    devices_per_host: int
    numbers: Mapping[str, Assumption]
    waits: Mapping[str, float]
    sent: Mapping[str, float]

    def all_reduce_seconds(self, size: float) -> float:
        """Return how long an all-reduce of `size` bytes over all devices takes."""
        waiting = sum(n * self.numbers[name].value for name, n in self.waits.items())
        return waiting + sum(
            share * size / self.numbers[name].value for name, share in self.sent.items()
        )


V5E_256 = Machine(
    name="TPU v5e-256",
    devices=256,
    devices_per_host=8,
    numbers={
        "peak": Assumption(197e12, "FLOP/s", CLOUD_TPU),
        "memory": Assumption(819e9, "byte/s", CLOUD_TPU),
        "links": Assumption(
            200e9,
            "byte/s",
            f"{CLOUD_TPU}: 400 GB/s a chip counting both ways, 51.2 TB/s of all-reduce "
            "for 256 chips",
        ),
        "hop": Assumption(
            1e-6, "s", f"{SCALING_BOOK}/sharding: typically around 1 us a hop"
        ),
    },
    # Full rings exist at a side of 16 (Part 2 of the book). A reduce-scatter and an
    # all-gather each go half around every ring, both ways.
    waits={"hop": 2 * (16 // 2 + 16 // 2)},
    # https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md: 2 (n - 1) / n
    # around a ring of n, and a torus is a ring in each of its directions at once.
    sent={"links": 2 * 255 / 256},
)
"""A whole v5e pod, a torus of 16 x 16 chips."""

H100_64 = Machine(
    name="64 H100",
    devices=64,
    devices_per_host=8,
    numbers={
        "peak": Assumption(
            989e12, "FLOP/s", f"{H100_SHEET}: 1,979 with sparsity, half without"
        ),
        "memory": Assumption(3.35e12, "byte/s", H100_SHEET),
        "inside": Assumption(
            450e9, "byte/s", f"{H100_SHEET}: NVLink, 900 GB/s counting both ways"
        ),
        "between": Assumption(
            50e9, "byte/s", f"{BASEPOD}: an adapter of 400 Gb/s for each of eight GPUs"
        ),
        "start": Assumption(30e-6, "s", ASSUMED),
    },
    waits={"start": 1},
    # Inside each node a reduce-scatter; between nodes, for each GPU's eighth, an
    # all-reduce over an adapter of its own; inside again an all-gather.
    sent={"inside": 2 * 7 / 8, "between": 2 * 7 / 8 / 8},
)
"""Eight nodes of eight H100 SXM, NVLink inside and InfiniBand between."""

MACHINES = (V5E_256, H100_64)

PRESETS = {"resnet50": "mlperf_32768", "alexnet_bn": "alexnet_bn_32k_lars"}
"""Preset of each network, both of 32,768 examples a step."""

UTILISATIONS = (0.3, 0.4, 0.5)
"""Shares of the peak that the passes may reach: assumed, and varied for that."""

FACTS = ImageFacts(num_classes=1000, channels=3, mean=(128.0,) * 3, std=(64.0,) * 3)
FLOAT = 4
"""Bytes of a parameter, a gradient and a statistic: all float32."""

EXAMPLES = 8
"""Examples of a micro-batch on a device, in the steps that are compiled and read."""

LOSS_AND_ACCURACY = 2

MODEL = {
    "passes": Assumption(
        3, "forward passes", "the usual count: two backward, one each by input, kernel"
    ),
    "backward_share": Assumption(2 / 3, "of compute", "two passes of three"),
    "optimizer_arrays": Assumption(
        7, "arrays", "what LARS reads and writes with a pass for norms: README.md"
    ),
    "gradient_all_reduces": Assumption(1, "of a step", f"{ASSUMED}: all combined"),
    "lowest_utilisation": Assumption(min(UTILISATIONS), "of the peak", ASSUMED),
    "highest_utilisation": Assumption(max(UTILISATIONS), "of the peak", ASSUMED),
    "speed_of_links": Assumption(1, "of what is published", ASSUMED),
    "speed_of_memory": Assumption(1, "of what is published", ASSUMED),
    "published_products": Assumption(
        4.09e9,
        "products of ResNet-50 v1.5, an image",
        "https://pytorch.org/vision/stable/models/generated/"
        "torchvision.models.resnet50.html",
    ),
    # Of one H100, in a record of ResNet-50 by another program.
    "published_images": Assumption(
        56078 / 8,
        "image/s",
        "https://github.com/mlcommons/training_results_v3.0 NVIDIA/results/"
        "dgxh100_ngc23.04_mxnet/resnet/result_0.txt, epoch 35, 8 H100",
    ),
}


class Counts(NamedTuple):
    """What a network is, counted from its shapes."""

    parameters: int
    leaves: int
    normalised_channels: int
    normalisations: int
    products: int
    """Multiplications of a forward pass of one image, each with an addition."""
    cost_analysis_products: float
    """Half of what XLA counts: no products with padding, but other operations too."""


@dataclass(frozen=True)
class Case:
    """A step over eight virtual devices whose exchanges are read."""

    network: str
    backend: Backend = "jit"
    span: int | None = EXAMPLES
    """Examples normalised together; None: the whole batch."""
    microbatches: int = 1
    devices: int = 8

    def config(self) -> Config:
        """Return its configuration; bytes do not depend on the number of examples."""
        return replace_fields(
            get_preset(PRESETS[self.network]).config,
            global_batch=EXAMPLES * self.devices * self.microbatches,
            microbatches=self.microbatches,
            augmentation="none",
            dtype="bfloat16",
            bn_span=ModelConfig().bn_span if self.span is None else self.span,
            backend=self.backend,
            devices=self.devices,
        )


CASES = (
    Case("resnet50"),
    Case("resnet50", span=16),
    Case("resnet50", span=None),
    Case("resnet50", microbatches=4),
    Case("resnet50", "shard_map"),
    Case("resnet50", "shard_map", microbatches=4),
    Case("resnet50", "pmap"),
    Case("alexnet_bn"),
    Case("alexnet_bn", "shard_map"),
)


def count(config: Config) -> Counts:
    """Return what the network of a configuration is."""
    network, size = make_network(config, FACTS), config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, FACTS.channels), jnp.float32)
    params, model_state = jax.eval_shape(
        lambda x: network.init(jax.random.key(0), x), images
    )
    leaves, statistics = jax.tree.leaves(params), jax.tree.leaves(model_state)
    forward = jax.jit(network.apply).trace(params, model_state, images)
    analysed = forward.lower().cost_analysis()
    assert analysed is not None
    return Counts(
        parameters=sum(leaf.size for leaf in leaves),
        leaves=len(leaves),
        # A mean and a variance for each channel.
        normalised_channels=sum(leaf.size for leaf in statistics) // 2,
        normalisations=len(statistics) // 2,
        products=sum(_products(forward.jaxpr)),
        cost_analysis_products=analysed["flops"] / 2,
    )


def operations(counts: Counts) -> float:
    """Return the operations of the passes over one image."""
    return MODEL["passes"].value * 2 * counts.products


def expected_bytes(counts: Counts, case: Case) -> int:
    """Return the bytes of all-reduces of one step, by shapes alone.

    Under `jit` the compiler sums whatever a part has made as soon as it is made, so
    every part exchanges gradients, loss and accuracy. Inside mapped steps `update` does
    so once, and averages the running statistics once more, which the layers have
    averaged already.
    """
    spread = case.span is None or case.span > EXAMPLES
    # Mean and variance of every channel: forwards and backwards where spans cover
    # several devices, and for the running averages unless one span is the batch.
    pairs = case.microbatches * (2 * spread + (case.span is not None))
    rest = counts.parameters + LOSS_AND_ACCURACY
    if case.backend == "jit":
        rest *= case.microbatches
    else:
        pairs += 1
    return FLOAT * (rest + 2 * pairs * counts.normalised_channels)


def read_case(case: Case, counts: Counts) -> dict[str, Any]:
    """Return a row: what the compiled step exchanges, and what shapes say of it."""
    text = MeshStep.create(case.config(), FACTS).compiled_text()
    found = collectives(text)
    return asdict(case) | {
        "opcodes": sorted({one.opcode for one in found}),
        "instructions": len(found),
        "bytes": exchanged_bytes(text),
        "expected_bytes": expected_bytes(counts, case),
    }


def estimate(
    counts: Counts, machine: Machine, utilisation: float, batch: int, *, spread: bool
) -> dict[str, float]:
    """Return the times of a step, in seconds, and its efficiency.

    With `spread` one normalisation covers all devices.
    """
    size = FLOAT * counts.parameters
    statistics = 2 * FLOAT * counts.normalised_channels
    peak = utilisation * machine.numbers["peak"].value
    compute = operations(counts) * batch / machine.devices / peak
    optimizer = MODEL["optimizer_arrays"].value * size / machine.numbers["memory"].value
    # Running statistics are summed with the gradients unless the layers did it.
    exchange = machine.all_reduce_seconds(size + (0 if spread else statistics))
    norm = 0.0
    if spread:
        layer = statistics / counts.normalisations
        norm = 2 * counts.normalisations * machine.all_reduce_seconds(layer)
    exposed = max(0.0, exchange - MODEL["backward_share"].value * compute)
    alone = compute + optimizer
    return {
        "compute": compute,
        "optimizer": optimizer,
        "exchange": exchange,
        "norm": norm,
        "step": alone + exchange + norm,
        "step_with_overlap": alone + exposed + norm,
        "efficiency": alone / (alone + exchange + norm),
        "efficiency_with_overlap": alone / (alone + exposed + norm),
    }


def estimates(network: str, counts: Counts, batch: int) -> list[dict[str, Any]]:
    """Return a row for every machine, span and utilisation."""
    rows = []
    for machine in MACHINES:
        utilisations = list(UTILISATIONS)
        if network == "resnet50" and machine is H100_64:
            # The share of the peak that the published record reached.
            published = operations(counts) * MODEL["published_images"].value
            utilisations.append(published / H100_64.numbers["peak"].value)
        for spread in (False, True):
            for utilisation in utilisations:
                found = estimate(counts, machine, utilisation, batch, spread=spread)
                hosts = machine.devices / machine.devices_per_host
                rows.append(
                    {
                        "network": network,
                        "machine": machine.name,
                        "span": "all devices" if spread else "one device",
                        "utilisation": utilisation,
                        "images_per_host_second": batch / hosts / found["step"],
                        "seconds": found,
                    }
                )
    return rows


def strategies(counts: Counts, machine: Machine) -> dict[str, dict[str, float]]:
    """Return what each way to keep parameters sends from a device in a step.

    All are made of reduce-scatters and all-gathers, each (n - 1) / n of the parameters'
    bytes; an all-reduce is one of each. Sharded states need one more all-reduce, of two
    squares for every leaf, for the norms of LARS.
    """
    size = FLOAT * counts.parameters
    ring = (machine.devices - 1) / machine.devices * size
    one_pass = machine.all_reduce_seconds(size) / 2
    norms = machine.all_reduce_seconds(2 * FLOAT * counts.leaves)
    passes = {"replicated": 2, "zero1": 2, "fsdp": 3}
    return {
        name: {
            "bytes_sent": number * ring,
            "seconds": number * one_pass + (0.0 if name == "replicated" else norms),
        }
        for name, number in passes.items()
    }


def main() -> None:
    """Count, estimate and write `records/pod_estimate.json`."""
    jax.config.update("jax_num_cpu_devices", max(case.devices for case in CASES))
    configs = {name: get_preset(preset).config for name, preset in PRESETS.items()}
    counts = {name: count(config) for name, config in configs.items()}
    compiled = []
    for case in CASES:
        compiled.append(read_case(case, counts[case.network]))
        print(compiled[-1], flush=True)
    rows, ways = [], []
    for name, config in configs.items():
        rows += estimates(name, counts[name], config.global_batch)
        for machine in MACHINES:
            found = strategies(counts[name], machine)
            ways.append({"network": name, "machine": machine.name, "ways": found})
    assumptions = {"model": _plain(MODEL)} | {
        machine.name: _plain(machine.numbers) for machine in MACHINES
    }
    command = "python -m benchmarks.mesh.pod_estimate"
    path = write_record(
        "pod_estimate",
        command,
        status="estimate: no step was timed on these machines",
        presets=PRESETS,
        counts={name: own._asdict() for name, own in counts.items()},
        assumptions=assumptions,
        compiled=compiled,
        estimates=rows,
        strategies=ways,
    )
    print(path)


def _plain(assumptions: Mapping[str, Assumption]) -> dict[str, dict[str, Any]]:
    return {name: one._asdict() for name, one in assumptions.items()}


def _products(jaxpr: Any) -> Iterator[int]:
    """Yield the products of every convolution and matrix product of a program."""
    for equation in jaxpr.eqns:
        name, sizes = equation.primitive.name, [v.aval for v in equation.invars]
        if name == "conv_general_dilated":
            kernel = sizes[1]
            features = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
            yield equation.outvars[0].aval.size * kernel.size // features
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(sizes[0].shape[axis] for axis in contracted)
            yield equation.outvars[0].aval.size * inner
        for inner in jaxprs_in_params(equation.params):
            yield from _products(inner)


if __name__ == "__main__":
    main()
