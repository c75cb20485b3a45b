"""One step, any number of devices, either back-end: the same parameters.

SGD is tested beside LARS because LARS forgives a gradient that is N times too large.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax import InputError, TrainState, lars
from lars_jax.train import DataParallel, data_mesh, update

STEPS = 20
OPTIMIZERS = {"sgd": optax.sgd(0.1, momentum=0.9), "lars": lars(3.0, 1e-4)}


def loss_fn(params, model_state, batch, key):
    del key
    hidden = jnp.tanh(batch["x"] @ params["first"])
    loss = jnp.mean((hidden @ params["second"] - batch["y"]) ** 2)
    return loss, (model_state, {"hidden": jnp.mean(hidden)})


def batch_at(step):
    random = np.random.default_rng(step)
    return {
        "x": random.normal(size=(16, 3)).astype(np.float32),
        "y": random.normal(size=(16, 1)).astype(np.float32),
    }


def initial(tx):
    random = np.random.default_rng(0)
    params = {
        "first": random.normal(size=(3, 8)).astype(np.float32),
        "second": random.normal(size=(8, 1)).astype(np.float32),
    }
    return TrainState.create(jax.tree.map(jnp.asarray, params), {}, tx)


@functools.cache
def train(rule, devices, backend, microbatches=1):
    parallel, tx = DataParallel(data_mesh(devices), backend), OPTIMIZERS[rule]

    def step(state, batch, shared):
        key = jax.random.fold_in(shared["key"], state.step)
        return update(
            loss_fn,
            tx,
            state,
            batch,
            key,
            microbatches=microbatches,
            axis_name=parallel.axis_name,
        )

    compiled = parallel.compile(step)
    state = parallel.replicate(initial(tx))
    shared = parallel.replicate({"key": jax.random.key(0)})
    losses = []
    for count in range(STEPS):
        state, metrics = compiled(state, parallel.shard_batch(batch_at(count)), shared)
        losses.append(float(metrics["loss"]))
    return jax.device_get(state.params), losses


@pytest.mark.parametrize(
    ("rule", "backend", "microbatches"),
    [
        *itertools.product(["sgd"], ["jit", "shard_map", "pmap"], [1, 2]),
        pytest.param("lars", "shard_map", 2, marks=pytest.mark.slow),
    ],
)
def test_eight_devices_end_where_one_does(rule, backend, microbatches):
    expected, expected_losses = train(rule, 1, "jit")
    found, losses = train(rule, 8, backend, microbatches)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["jit", "shard_map", "pmap"])
def test_step_takes_its_state_and_moves_nothing_between_host_and_device(backend):
    tx = optax.sgd(0.1)
    parallel = DataParallel(data_mesh(8), backend)

    def step(state, batch, shared):
        key, axis = shared["key"], parallel.axis_name
        return update(loss_fn, tx, state, batch, key, axis_name=axis)

    compiled = parallel.compile(step)
    state = parallel.replicate(initial(tx))
    shared = parallel.replicate({"key": jax.random.key(0)})
    batch = parallel.shard_batch(batch_at(0))
    with jax.transfer_guard("disallow"):
        _, metrics = compiled(state, batch, shared)
    assert np.isfinite(float(metrics["loss"]))
    assert state.params["first"].is_deleted()


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(InputError, match="between 1 and the 8"):
        data_mesh(9)


@pytest.mark.parametrize("backend", ["jit", "shard_map", "pmap"])
def test_batch_that_does_not_divide_is_refused(backend):
    parallel = DataParallel(data_mesh(8), backend)
    with pytest.raises(InputError, match="12 examples on 8 devices"):
        parallel.shard_batch({"x": np.zeros((12, 2))})


def test_one_process_brings_every_row():
    np.testing.assert_array_equal(
        DataParallel(data_mesh(4)).local_rows(12), np.arange(12)
    )
