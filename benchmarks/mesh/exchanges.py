"""What a step exchanges between devices, counted from shapes and in compiled programs.

    python -m benchmarks.mesh.exchanges

Bytes of sums over devices follow from the shapes of parameters and running statistics,
and are read again in the program that XLA compiles for eight virtual devices. Products
of convolutions and linear layers are counted beside the compiler's operations.
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
from experiments.lars.config import Config, ModelConfig
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_network
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend

PRESETS = {"resnet50": "mlperf_32768", "alexnet_bn": "alexnet_bn_32k_lars"}
"""Preset of each network, both of 32,768 examples a step."""

PUBLISHED_PRODUCTS = 4.09e9
"""Products of ResNet-50 v1.5, an image, by torchvision:
https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet50.html"""

FACTS = ImageFacts(num_classes=1000, channels=3, mean=(128.0,) * 3, std=(64.0,) * 3)
FLOAT = 4
"""Bytes of a parameter, a gradient and a statistic: all float32."""

EXAMPLES = 8
"""Examples of a micro-batch on a device, in the steps that are compiled and read."""

LOSS_AND_ACCURACY = 2


class Counts(NamedTuple):
    """What a network is, counted from its shapes."""

    parameters: int
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
        # A mean and a variance for each channel.
        normalised_channels=sum(leaf.size for leaf in statistics) // 2,
        normalisations=len(statistics) // 2,
        products=sum(_products(forward.jaxpr)),
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
    return asdict(case) | {
        "opcodes": sorted({one.opcode for one in found}),
        "instructions": len(found),
        "bytes": exchanged_bytes(text),
        "expected_bytes": expected_bytes(counts, case),
    }


def main() -> None:
    """Count and write `records/exchanges.json`."""
    jax.config.update("jax_num_cpu_devices", max(case.devices for case in CASES))
    configs = {name: get_preset(preset).config for name, preset in PRESETS.items()}
    counts = {name: count(config) for name, config in configs.items()}
    compiled = []
    for case in CASES:
        compiled.append(read_case(case, counts[case.network]))
        print(compiled[-1], flush=True)
    path = write_record(
        "exchanges",
        "python -m benchmarks.mesh.exchanges",
        presets=PRESETS,
        counts={name: own._asdict() for name, own in counts.items()},
        compiled=compiled,
    )
    print(path)


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
