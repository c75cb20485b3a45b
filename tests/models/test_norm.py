import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from lars_jax.errors import InputError
from lars_jax.models import (
    BATCH_NORM_MOMENTUM,
    BatchNorm,
    batch_statistics,
    from_linen,
    merge_statistics,
)
from tests.models.support import random_images, small_network


def activations(batch=16, mean=0.5, deviation=2.0):
    noise = np.random.default_rng(0).normal(size=(batch, 3, 2, 5))
    drift = np.arange(batch).reshape(-1, 1, 1, 1) / batch
    return jnp.asarray(mean + drift + deviation * noise, jnp.float32)


def train(norm, variables, x) -> tuple[Any, Any]:
    y, state = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    return y, state["batch_stats"]


def variables_of(norm, x) -> Any:
    return norm.init(jax.random.key(0), x, train=False)


def oracle(x, span, epsilon=1e-5):
    """Outputs and running statistics after one step, in float64 NumPy."""
    groups = np.asarray(x, np.float64).reshape(-1, span, *x.shape[1:])
    axes = (1, 2, 3)
    mean, var = groups.mean(axes, keepdims=True), groups.var(axes, keepdims=True)
    y = ((groups - mean) / np.sqrt(var + epsilon)).reshape(x.shape)
    flat = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return y, {"mean": 0.1 * flat.mean(0), "var": 0.9 + 0.1 * flat.var(0)}


def assert_close(actual, expected, tolerance=1e-5):
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance)
    jax.tree.map(functools.partial(close, atol=tolerance), actual, expected)


def test_one_group_equals_flax_over_three_steps():
    ours = BatchNorm()
    theirs = nn.BatchNorm(momentum=BATCH_NORM_MOMENTUM)
    variables = variables_of(ours, activations())
    expected_state = variables["batch_stats"]
    state = variables["batch_stats"]
    for step in range(3):
        x = activations(mean=float(step))
        y, state = train(ours, variables | {"batch_stats": state}, x)
        expected, updated = theirs.apply(
            variables | {"batch_stats": expected_state},
            x,
            use_running_average=False,
            mutable=["batch_stats"],
        )
        expected_state = updated["batch_stats"]
        assert_close((y, state), (expected, expected_state))


def test_evaluation_equals_flax():
    x = activations()
    variables = variables_of(BatchNorm(), x)
    statistics = {"mean": jnp.arange(5.0), "var": 1.0 + jnp.arange(5.0)}
    variables |= {"batch_stats": statistics}
    expected = nn.BatchNorm(use_running_average=True).apply(variables, x)
    assert_close(BatchNorm().apply(variables, x, train=False), expected)


def test_gradients_equal_those_of_flax():
    x = activations()
    variables = variables_of(BatchNorm(), x)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=x.shape), jnp.float32)

    def ours(params, x):
        y, _ = train(BatchNorm(), variables | {"params": params}, x)
        return jnp.sum(weights * y)

    def theirs(params, x):
        norm = nn.BatchNorm(use_running_average=False)
        tree = variables | {"params": params}
        return jnp.sum(weights * norm.apply(tree, x, mutable=["batch_stats"])[0])

    gradients = jax.grad(ours, argnums=(0, 1))(variables["params"], x)
    expected = jax.grad(theirs, argnums=(0, 1))(variables["params"], x)
    assert_close(gradients, expected, 1e-4)


def test_groups_are_consecutive_examples_and_their_variances_are_merged():
    x = jnp.array([[1.0], [3.0], [10.0], [14.0]])
    norm = BatchNorm(span=2, epsilon=0.0)
    y, state = train(norm, variables_of(norm, x), x)
    np.testing.assert_allclose(y[:, 0], [-1.0, 1.0, -1.0, 1.0], rtol=1e-6)
    # Means 2 and 12, variances 1 and 4: overall 7 and 2.5 + 25.
    np.testing.assert_allclose(state["mean"], [0.7], rtol=1e-6)
    np.testing.assert_allclose(state["var"], [0.9 + 2.75], rtol=1e-6)


@pytest.mark.parametrize("span", [1, 4, 16, 999])
def test_any_span_equals_the_oracle(span):
    x = activations()
    norm = BatchNorm(span=span)
    assert_close(train(norm, variables_of(norm, x), x), oracle(x, min(span, 16)))


@pytest.mark.parametrize("span", [3, 0, -4])
def test_span_that_does_not_divide_the_batch_is_refused(span):
    x = activations()
    norm = BatchNorm(span=span)
    with pytest.raises(InputError, match=f"got span {span} and 16 examples"):
        train(norm, variables_of(norm, x), x)


def test_scale_comes_from_its_initialiser_and_bias_from_the_parameters():
    x = activations()
    norm = BatchNorm(scale_init=nn.initializers.constant(3.0))
    variables = variables_of(norm, x)
    variables["params"]["bias"] += 1.0
    y, _ = train(norm, variables, x)
    assert_close(y, 3.0 * oracle(x, 16)[0] + 1.0)


def test_remembered_mean_far_from_zero_does_not_spoil_the_variance():
    x = activations(mean=1e4, deviation=0.1)
    variables = variables_of(BatchNorm(), x)
    variables["batch_stats"]["mean"] = jnp.full(5, 1e4)
    y, _ = train(BatchNorm(), variables, x)
    assert_close(y, oracle(x, 16)[0], 1e-3)


def test_constant_channel_is_normalised_to_zero():
    x = jnp.full((4, 2, 2, 3), 7.0)
    y, state = train(BatchNorm(), variables_of(BatchNorm(), x), x)
    np.testing.assert_array_equal(y, 0.0)
    np.testing.assert_allclose(state["var"], 0.9)


def test_bfloat16_activations_keep_float32_statistics():
    x = activations().astype(jnp.bfloat16)
    norm = BatchNorm(dtype=jnp.bfloat16)
    y, state = train(norm, variables_of(norm, x), x)
    expected_y, expected_state = oracle(x.astype(jnp.float32), 16)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    assert_close(state, expected_state)
    assert_close(y.astype(jnp.float32), expected_y, 1e-2)


@pytest.mark.parametrize("span", [None, 8])
def test_eight_devices_under_jit_give_the_numbers_of_one(span):
    x = activations()
    norm = BatchNorm(span=span)
    variables = variables_of(norm, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    outputs = jax.jit(functools.partial(train, norm))(variables, spread)
    assert_close(outputs, train(norm, variables, x))


def pmapped(norm, x, devices):
    variables = variables_of(norm, x)
    step = jax.pmap(
        lambda part: train(norm, variables, part),
        axis_name="data",
        devices=jax.devices()[:devices],
    )
    y, state = step(x.reshape(devices, -1, *x.shape[1:]))
    return y.reshape(x.shape), state


def shard_mapped(norm, x, devices, check_vma):
    variables = variables_of(norm, x)
    mesh = jax.make_mesh(
        (devices,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:devices],
    )
    split, whole = PartitionSpec("data"), PartitionSpec()
    return jax.jit(
        jax.shard_map(
            functools.partial(train, norm, variables),
            mesh=mesh,
            in_specs=split,
            # With its checks on, a state that devices do not agree about is refused.
            out_specs=(split, whole),
            check_vma=check_vma,
        )
    )(x)


# A device of eight has two examples: groups within one, one for each, one for two
# devices, and one for all.
@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize(
    ("span", "devices"), [(None, 8), (1, 8), (2, 8), (4, 8), (4, 2), (64, 2)]
)
def test_shard_map_gives_the_numbers_of_one_device(span, devices, check_vma):
    x = activations()
    found = shard_mapped(BatchNorm(span=span, axis_name="data"), x, devices, check_vma)
    assert_close(found, oracle(x, min(span or 16, 16)))


@pytest.mark.parametrize(("span", "devices"), [(None, 8), (1, 2), (4, 8)])
def test_pmap_gives_every_device_the_numbers_of_one_device(span, devices):
    x = activations()
    y, state = pmapped(BatchNorm(span=span, axis_name="data"), x, devices)
    expected_y, expected_state = oracle(x, min(span or 16, 16))
    assert_close(y, expected_y)
    for device in range(devices):
        assert_close(jax.tree.map(lambda s, d=device: s[d], state), expected_state)


@pytest.mark.parametrize("span", [3, 6])
def test_span_that_cuts_through_a_device_or_leaves_some_over_is_refused(span):
    with pytest.raises(InputError, match=f"got span {span} on 8 devices of 2 examples"):
        pmapped(BatchNorm(span=span, axis_name="data"), activations(), 8)


def test_statistics_of_a_batch_do_not_depend_on_the_running_ones():
    network, x = from_linen(BatchNorm()), jnp.array([[1.0], [3.0]])
    params, _ = network.init(jax.random.key(0), x)
    stale = {"batch_stats": {"mean": jnp.full(1, 99.0), "var": jnp.full(1, 1e6)}}
    state = batch_statistics(network, params, stale, x)["batch_stats"]
    np.testing.assert_allclose(state["mean"], [2.0], rtol=1e-6)
    np.testing.assert_allclose(state["var"], [1.0], rtol=1e-6)


@pytest.mark.slow
def test_evaluation_by_batch_statistics_equals_training_on_that_batch():
    network, params, model_state = small_network("resnet8")
    images = random_images(16, 8, 8, 3)
    trained, _ = network.apply(params, model_state, images, train=True)
    state = batch_statistics(network, params, model_state, images)
    evaluated, _ = network.apply(params, state, images)
    assert_close(evaluated, trained, 1e-4)


def test_network_without_normalisation_has_no_statistics():
    network, params, model_state = small_network("alexnet")
    images = jnp.zeros((4, 8, 8, 3))
    dropping = jax.random.key(1)
    assert batch_statistics(network, params, model_state, images, dropping) == {}
    assert merge_statistics([{}, {}]) == {}


def test_merged_statistics_of_parts_are_those_of_the_whole():
    network, x = from_linen(BatchNorm()), activations()
    params, model_state = network.init(jax.random.key(0), x)
    whole = batch_statistics(network, params, model_state, x)
    parts = [
        batch_statistics(network, params, model_state, part) for part in jnp.split(x, 4)
    ]
    assert_close(merge_statistics(parts), whole)


def test_stacked_statistics_merge_like_a_list():
    means, ones = [jnp.zeros(3), jnp.full(3, 2.0)], jnp.ones(3)
    states = [{"batch_stats": {"bn": {"mean": m, "var": ones}}} for m in means]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    jax.tree.map(
        np.testing.assert_array_equal,
        merge_statistics(stacked),
        merge_statistics(states),
    )


def test_merging_nothing_is_refused():
    with pytest.raises(InputError, match="got none"):
        merge_statistics([])
