"""The type that devices sum gradients in is the one asked for, by every back-end."""

from collections import Counter
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from experiments.lars import program
from experiments.lars.presets import get_preset
from experiments.lars.program import build_train_step, state_shapes
from experiments.lars.shapes import assumed_facts, batch_shapes, fed_shape, key_shape
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields
from tests.experiments.lars.support import error, train

pytestmark = pytest.mark.usefixtures("tiny_network")

HALF = replace_fields(
    get_preset("smoke").config,
    global_batch=64,
    microbatches=1,
    bn_span=8,
    steps=1,
    optimizer="sgd",
    learning_rate=0.5,
    dtype="bfloat16",
)


def equations(jaxpr):
    """Yield all equations of a program."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def made(config, devices, backend):
    """Return how often a step makes the linear kernel's gradient, and sums, by type."""
    parallel = DataParallel(data_mesh(devices), backend)
    facts = assumed_facts(config)
    batch = batch_shapes(config.global_batch, fed_shape(config.data, facts))
    step = build_train_step(config, facts, parallel)
    state = state_shapes(config, facts)
    program = step.trace(state, batch, {"key": key_shape()}).jaxpr
    products, sums = Counter(), Counter()
    for equation in equations(program.jaxpr):
        arrays = [variable.aval for variable in equation.outvars]
        if equation.primitive.name == "dot_general" and arrays[0].size == 256 * 10:
            products[arrays[0].dtype.name] += 1
        if equation.primitive.name.startswith("psum"):
            sums.update(array.dtype.name for array in arrays if array.size > 1)
    return products, sums


@pytest.mark.parametrize("backend", ["jit", "shard_map"])
@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16"])
def test_devices_sum_gradients_in_the_type_asked_for(backend, asked):
    config = replace_fields(HALF, gradient_sums=asked)
    dtype = "float32" if asked == "auto" else asked
    products, sums = made(config, 8, backend)
    # Under jit the compiler puts a sum where a product is, in its type.
    assert products == {dtype: 1}
    if backend != "jit":
        assert sums["bfloat16"] == (0 if dtype == "float32" else 5), sums


@pytest.mark.parametrize("backend", ["jit", "shard_map"])
def test_one_device_has_products_of_one_type(backend):
    assert made(HALF, 1, backend)[0] == {"bfloat16": 1}


@pytest.mark.parametrize(
    ("asked", "backend", "wide"),
    [
        ("auto", "jit", False),
        ("float32", "jit", True),
        ("float32", "shard_map", False),
        ("bfloat16", "jit", False),
    ],
)
def test_gpus_copy_no_activations_unless_asked_to(asked, backend, wide):
    card = SimpleNamespace(platform="cuda")
    mesh: Any = SimpleNamespace(devices=np.array([card, card]), size=2)
    with mock.patch.object(program, "build") as build:
        config = replace_fields(HALF, gradient_sums=asked)
        program.make_network(config, assumed_facts(config), DataParallel(mesh, backend))
    assert build.call_args.kwargs["wide_gradients"] is wide


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", ["shard_map", pytest.param("pmap", marks=pytest.mark.slow)]
)
def test_back_ends_agree_in_products_of_bfloat16(backend):
    one, other = (
        train(replace_fields(HALF, devices=8, backend=name))[1]
        for name in ("jit", backend)
    )
    assert error(other.params, one.params) < 1e-5
    summed = replace_fields(HALF, devices=8, backend=backend, gradient_sums="bfloat16")
    assert 1e-4 < error(train(summed)[1].params, one.params) < 0.05
