"""A training step by its shapes alone, so that one for a pod is known on a laptop."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Var, jaxprs_in_params

from experiments.lars.config import Config, DataConfig
from experiments.lars.program import ImageFacts, Shared, make_loss, make_network
from lars_jax.data import known_statistics
from lars_jax.train import DataParallel, TrainState

CLASSES = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "imagenet2012": 1000}
"""Classes of the data sets that presets name; another is taken to be like ImageNet."""


def key_shape() -> Any:
    """Return the shape of a random key."""
    return jax.eval_shape(lambda: jax.random.key(0))


@dataclass(frozen=True)
class Setting:
    """What a step is given besides its configuration, arrays or their shapes.

    Attributes:
        parallel: the mesh and the back-end.
        facts: of the data.
        image: shape of an image that the host feeds, [H, W, C]; None where images
            lie on the device.
        shared: what every step is given besides state and batch.
        beside: bytes on each device that no step is given.
    """

    parallel: DataParallel
    facts: ImageFacts
    image: tuple[int, ...] | None
    shared: Shared = field(default_factory=lambda: {"key": key_shape()})
    beside: int = 0


def residual_bytes(config: Config, facts: ImageFacts, state: TrainState) -> int:
    """Return what the forward pass of a micro-batch keeps for its backward pass.

    It is what differentiation asks for, before the compiler fuses anything, and so
    more than what a compiled step will hold.

    Args:
        config: the run, its micro-batches resolved.
        facts: of its data.
        state: the shapes of its state.
    """
    network, key = make_network(config, facts), key_shape()
    count = config.global_batch // config.parts
    part = batch_shapes(count, fed_shape(config.data, facts))

    def backward(state: TrainState, part: Any, key: jax.Array) -> Any:
        loss = make_loss(config, facts, network, {"key": key}, key)
        return jax.vjp(
            lambda params: loss(params, state.model_state, part, key),
            state.params,
            has_aux=True,
        )[1]

    return tree_bytes(jax.eval_shape(backward, state, part, key))


def activation_bytes(config: Config, facts: ImageFacts, state: TrainState) -> int:
    """Return what a compiled step holds of a micro-batch for its backward pass.

    That is what convolutions and matrix products make and, where their kernels learn,
    what they read, each array once: what lies between them is computed again. On a TPU
    what stays on the chip counts, too.

    Args:
        config: the run, its micro-batches resolved.
        facts: of its data.
        state: the shapes of its state.
    """
    network, key = make_network(config, facts), key_shape()
    count = config.global_batch // config.parts
    part = batch_shapes(count, fed_shape(config.data, facts))

    def forward(params: Any, model_state: Any, part: Any, key: jax.Array) -> Any:
        loss = make_loss(config, facts, network, {"key": key}, key)
        return loss(params, model_state, part, key)

    given = state.params, state.model_state, part, key
    program = jax.make_jaxpr(forward)(*given).jaxpr
    tokens: dict[Any, object] = {one: object() for one in program.invars}
    held = _Held()
    params = program.invars[: len(jax.tree.leaves(state.params))]
    held.moving.update(map(tokens.get, params))
    held.walk(program, tokens)
    return sum(aval.size * aval.dtype.itemsize for aval in held.arrays.values())


class _Held:
    """What a program keeps of its products, kernels aside, each array once.

    Attributes:
        arrays: their types, by a token that an array keeps where it is handed on.
        moving: tokens of arrays that gradients are of.
    """

    def __init__(self) -> None:
        self.arrays: dict[object, Any] = {}
        self.moving: set[object] = set()

    def walk(self, jaxpr: Any, tokens: dict[Any, object]) -> None:
        """Add what a program keeps.

        Args:
            jaxpr: the program.
            tokens: of its variables: of what it is given at first, of all in the end.
        """
        for equation in jaxpr.eqns:
            read = [one for one in equation.invars if isinstance(one, Var)]
            tokens.update((one, object()) for one in equation.outvars)
            # Crops by products have no gradient and are not kept.
            if self.moving.isdisjoint(map(tokens.get, read)):
                continue
            if equation.primitive.name in ("conv_general_dilated", "dot_general"):
                self._keep(equation, tokens)
            for inner in _inside(equation):
                own: dict[Any, object] = {one: object() for one in inner.invars}
                # From the end, as a conditional has its index first.
                _hand_on(equation.invars[::-1], tokens, inner.invars[::-1], own)
                self.walk(inner, own)
                _hand_on(inner.outvars, own, equation.outvars, tokens)
            if equation.primitive.name in ("optimization_barrier", "split"):
                _hand_on(equation.invars, tokens, equation.outvars, tokens)
            self.moving.update(map(tokens.get, equation.outvars))

    def _keep(self, equation: Any, tokens: dict[Any, object]) -> None:
        image, kernel = equation.invars
        # A constant, as response normalisation has, needs no gradient.
        learns = isinstance(image, Var) and tokens.get(kernel) in self.moving
        for one in (*((image,) if learns else ()), *equation.outvars):
            self.arrays[tokens.get(one, one)] = one.aval


def _hand_on(
    given: Sequence[Any],
    known: Mapping[Any, object],
    taken: Sequence[Any],
    tokens: dict[Any, object],
) -> None:
    """Let variables of one program have the tokens of another's, where types agree."""
    for one, other in zip(given, taken, strict=False):
        # Of slices, as a loop takes them, the types do not.
        if isinstance(one, Var) and one in known and one.aval == other.aval:
            tokens[other] = known[one]


def _inside(equation: Any) -> list[Any]:
    """Return the programs that an equation runs on an accelerator."""
    inside = list(jaxprs_in_params(equation.params))
    if platforms := equation.params.get("branches_platforms"):
        # One form alone runs, and not that of CPUs, which make patches of an image
        # that are gone when the convolution is done.
        pairs = zip(inside, platforms, strict=True)
        return [form for form, of in pairs if of != ("cpu",)][:1]
    return inside


def device_bytes(
    config: Config,
    facts: ImageFacts,
    state: TrainState,
    devices: int,
    data: dict[str, Any],
) -> dict[str, int]:
    """Return about what a training step needs on each device, by what it is for.

    Args:
        config: the run, its micro-batches resolved.
        facts: of its data.
        state: the shapes of its state, with their shardings.
        devices: that share the batch.
        data: shapes of what lies on the device to train on; empty: the host feeds it.
    """
    parameters = tree_bytes(state.params, shard=True)
    image = None if data else fed_shape(config.data, facts)
    batch = batch_shapes(config.global_batch, image, config.steps_per_call)
    return {
        "parameters": parameters,
        "gradients": parameters,
        "accumulated gradients": parameters if config.parts > 1 else 0,
        "optimizer state": tree_bytes(state.opt_state, shard=True),
        "batch statistics": tree_bytes(state.model_state, shard=True),
        "activations": activation_bytes(config, facts, state) // devices,
        "batches from the host": tree_bytes(batch) // devices,
        "data set": tree_bytes(data),
    }


def batch_shapes(
    count: int, image: tuple[int, ...] | None, calls: int = 1
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a batch of `count` examples, or of several side by side.

    Args:
        count: examples of a step.
        image: as `Setting` has it.
        calls: steps of a call; above 1 they are axis 1.

    >>> sorted(batch_shapes(64, None))
    ['epoch', 'index']
    """
    lead = (count,) if calls == 1 else (count, calls)
    number = jax.ShapeDtypeStruct(lead, jnp.int32)
    rows = {"index": number, "epoch": number}
    if image is None:
        return rows
    pixels = jax.ShapeDtypeStruct((*lead, *image), jnp.uint8)
    return rows | {"image": pixels, "label": number}


def fed_shape(
    data: DataConfig, facts: ImageFacts, own: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Return the shape of an image as the host feeds it, [H, W, C].

    Args:
        data: how images are cut.
        facts: gives the channels.
        own: height and width as the images are stored; None: what the network sees.
    """
    seen = (data.image_size, data.image_size)
    # A random resized crop is cut on the host, so resize has no say in it.
    if data.augmentation == "random_resized_crop":
        return *seen, facts.channels
    resized = None if data.resize is None else (data.resize, data.resize)
    return *(resized or own or seen), facts.channels


def assumed_facts(config: Config) -> ImageFacts:
    """Return the facts of the data set that a configuration names, without opening it.

    >>> assumed_facts(Config()).num_classes
    10
    """
    dataset = config.data.dataset
    name = dataset if dataset in CLASSES else "imagenet2012"
    statistics = known_statistics(name)
    assert statistics is not None, name
    mean, std = statistics
    return ImageFacts(CLASSES[name], len(mean), tuple(mean), tuple(std))


def tree_bytes(tree: Any, *, shard: bool = False) -> int:
    """Return the bytes of a tree of arrays or shapes.

    Args:
        tree: any.
        shard: whether only what one device holds is counted, by their shardings.

    >>> tree_bytes({"a": jnp.zeros((2, 3), jnp.float32)})
    24
    """
    return sum(
        math.prod(x.sharding.shard_shape(x.shape) if shard else x.shape)
        * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )
