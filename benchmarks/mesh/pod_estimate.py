"""What 32,768 examples a step should cost on machines that no step was timed on.

    python -m benchmarks.mesh.pod_estimate

Nothing here is a measurement of speed. Bytes are counted: from the shapes of the
parameters, and again in the program that XLA compiles for eight virtual devices, for
every back-end. Products are counted in the network as it is traced. Times follow by
division from the numbers that makers publish, at a share of the peak that is assumed:

    compute    3 passes x 2 x products x images of a device / (utilisation x peak)
    optimizer  7 arrays of the parameters' size / bandwidth of memory
    exchange   all-reduce of the gradients and of the running statistics
    norm       an all-reduce for each normalisation, forwards and backwards, where its
               span covers several devices; nothing can be done in the meantime

Efficiency is compute and optimizer over the whole step: without overlap, all of the
above one after the other; with it, less of the exchange as the backward pass, two
thirds of compute, can hide. Input, stragglers and evaluation are left out.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from benchmarks.common.records import write_record
from benchmarks.common.steps import MeshStep
from benchmarks.mesh.collectives import collectives, exchanged_bytes
from benchmarks.mesh.pod_machines import ASSUMED, H100_64, MACHINES, Assumption, Machine
from experiments.lars.config import Config, ModelConfig
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_network
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend

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

MLPERF_IMAGES = Assumption(
    56078 / 8,
    "image/s",
    "https://github.com/mlcommons/training_results_v3.0 NVIDIA/results/"
    "dgxh100_ngc23.04_mxnet/resnet/result_0.txt, epoch 35, 8 H100",
)
"""Images per second of one H100 in a record of ResNet-50 by another program."""

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
    "published_images": MLPERF_IMAGES,
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

    def forward(params: Any, model_state: Any, images: jax.Array) -> jax.Array:
        return network.apply(params, model_state, images)[0]

    arguments = params, model_state, images
    analysed = jax.jit(forward).lower(*arguments).cost_analysis()
    assert analysed is not None
    return Counts(
        parameters=sum(leaf.size for leaf in leaves),
        leaves=len(leaves),
        # A mean and a variance for each channel.
        normalised_channels=sum(leaf.size for leaf in statistics) // 2,
        normalisations=len(statistics) // 2,
        products=sum(_products(jax.make_jaxpr(forward)(*arguments).jaxpr)),
        cost_analysis_products=analysed["flops"] / 2,
    )


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
    opcodes = sorted({one.opcode for one in found})
    return asdict(case) | {
        "opcodes": opcodes,
        "instructions": len(found),
        "bytes": exchanged_bytes(text),
        "expected_bytes": expected_bytes(counts, case),
    }


def estimate(
    counts: Counts, machine: Machine, utilisation: float, batch: int, *, spread: bool
) -> dict[str, float]:
    """Return the times of a step, in seconds, and its efficiency.

    Args:
        counts: of the network.
        machine: what it runs on.
        utilisation: share of the peak that the passes reach.
        batch: examples of a step, over all devices.
        spread: whether one normalisation covers all devices.
    """
    size = FLOAT * counts.parameters
    statistics = 2 * FLOAT * counts.normalised_channels
    operations = MODEL["passes"].value * 2 * counts.products * batch / machine.devices
    compute = operations / (utilisation * machine.peak.value)
    optimizer = MODEL["optimizer_arrays"].value * size / machine.memory.value
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
            utilisations.append(published_utilisation(counts))
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


def published_utilisation(counts: Counts) -> float:
    """Return the share of an H100's peak that the published record reached."""
    operations = MODEL["passes"].value * 2 * counts.products
    return operations * MLPERF_IMAGES.value / H100_64.peak.value


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
        machine.name: _plain(machine.assumptions()) for machine in MACHINES
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


def _plain(assumptions: dict[str, Assumption]) -> dict[str, dict[str, Any]]:
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
