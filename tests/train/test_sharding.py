"""A state split over eight devices: the steps of a whole one, in an eighth of it.

The columns of `uneven` differ ten-thousandfold: no shard has the norm of the whole.
Every step is waited for: virtual devices of one process may abort when many steps are
in flight.
"""

import functools
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from lars_jax import InputError, TrainState, lamb, lars, layer_norms
from lars_jax.optim import VARIANTS, leaf_names
from lars_jax.train import (
    DataParallel,
    StateSharding,
    data_mesh,
    gathered,
    parameter_shardings,
    state_shardings,
    update,
)
from lars_jax.train.checkpoint import Checkpoints
from lars_jax.train.parallel import AXIS
from lars_jax.train.sharding import shard_shapes
from tests.cases import mostly_slow

STEPS, BATCH = 3, 32
WIDTH = 64
SCALES = np.repeat(np.logspace(-2, 2, 8, dtype=np.float32), WIDTH // 8)[None]
SPLIT = ("zero1", "fsdp")
OPTIMIZERS = {
    name: lars(1.0, 1e-2, trust_coefficient=6e-3, variant=name) for name in VARIANTS
} | {
    "sgd": optax.sgd(0.02, momentum=0.9),
    "injected": optax.inject_hyperparams(lars)(1.0, 1e-2, trust_coefficient=6e-3),
    "lamb": lamb(0.02, eps=1.0, weight_decay=1e-2),
}
MESH = AbstractMesh((8,), (AXIS,))


def loss_fn(params, model_state, batch, key):
    del key
    # Divided, so that the gradient's columns differ as much, the other way round.
    hidden = jnp.tanh(batch["x"] @ params["uneven"] / SCALES)
    hidden = jnp.tanh(hidden @ params["square"] + params["bias"][None])
    loss = jnp.mean((hidden @ params["columns"] - batch["y"]) ** 2)
    return loss, (model_state, {"hidden": jnp.mean(hidden)})


def batch_at(step):
    random = np.random.default_rng(step)
    return {
        "x": random.normal(size=(BATCH, 8)).astype(np.float32),
        "y": random.normal(size=(BATCH, 8)).astype(np.float32),
    }


def initial(tx):
    random = np.random.default_rng(0)
    params = {
        "uneven": random.normal(size=(8, WIDTH)) * SCALES / 3,
        "square": random.normal(size=(WIDTH, WIDTH)) / 8,
        "bias": random.normal(size=WIDTH) / 8,
        "columns": random.normal(size=(WIDTH, 8)) / 8,
    }
    params = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in params.items()}
    return TrainState.create(params, {"seen": jnp.zeros(64)}, tx)


def placed(state, kind, parallel):
    """Return the shardings of a state and of its gradients; nothing below 100 split."""
    return (
        state_shardings(state, parallel.mesh, kind, smallest=100),
        parameter_shardings(state.params, parallel.mesh, smallest=100),
    )


@functools.cache
def compiled_step(rule, kind, devices=8, microbatches=1) -> Any:
    """Return a step that is compiled when it is first called, and its shardings."""
    parallel, tx = DataParallel(data_mesh(devices)), OPTIMIZERS[rule]
    shardings, gradients = placed(initial(tx), kind, parallel)
    loss = loss_fn if kind == "none" else gathered(loss_fn, gradients)

    def step(state, batch, shared):
        key = jax.random.fold_in(shared["key"], state.step)
        return update(loss, tx, state, batch, key, microbatches=microbatches)

    return parallel.compile(step, shardings), shardings


@functools.cache
def trained(rule, kind="none", devices=1, microbatches=1):
    """Return the parameters and the telemetry after all steps."""
    parallel, tx = DataParallel(data_mesh(devices)), OPTIMIZERS[rule]
    step, shardings = compiled_step(rule, kind, devices, microbatches)
    state = jax.device_put(initial(tx), shardings)
    shared = parallel.replicate({"key": jax.random.key(0)})
    for number in range(STEPS):
        state, _ = step(state, parallel.shard_batch(batch_at(number)), shared)
        jax.block_until_ready(state)
    telemetry = np.zeros(0) if rule == "sgd" else layer_norms(state.opt_state)
    return jax.device_get((state.params, telemetry))


def assert_same(found, expected):
    """Compare parameters relative to how far each has moved, and all telemetry."""
    before = jax.device_get(initial(optax.identity()).params)
    for name, leaf in expected[0].items():
        moved = np.abs(leaf - before[name]).max()
        assert moved > 0
        assert np.abs(found[0][name] - leaf).max() <= 1e-5 * moved, name
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "kind", "microbatches"),
    mostly_slow(
        {
            f"{rule} {kind} {parts}": (rule, kind, parts)
            for rule in ("sgd", "injected", "lamb")
            for kind in SPLIT
            for parts in (1, 4)
        },
        ["sgd zero1 4", "injected fsdp 4"],
    ),
)
def test_split_state_takes_the_steps_of_a_whole_one(rule, kind, microbatches):
    assert_same(trained(rule, kind, 8, microbatches), trained(rule))


@pytest.mark.parametrize(
    "variant",
    mostly_slow({name: (name,) for name in sorted(VARIANTS)}, ["tf_contrib"]),
)
def test_norms_of_every_variant_are_those_of_whole_layers(variant):
    assert_same(trained(variant, "fsdp", 8), trained(variant))


@pytest.mark.slow
def test_norms_of_shards_would_be_noticed():
    # The same leaf, each device measuring its own part: what the tests above rule out.
    tx, state = OPTIMIZERS["paper"], initial(OPTIMIZERS["paper"])
    gradient = jax.grad(lambda *a: loss_fn(*a)[0])(
        state.params, {}, batch_at(0), jax.random.key(0)
    )["uneven"]
    leaf = state.params["uneven"]
    updates = lambda g, w: tx.update(g, tx.init(w), w)[0]  # noqa: E731
    split = PartitionSpec(None, AXIS)
    local = jax.shard_map(
        updates,
        mesh=data_mesh(8),
        in_specs=(split, split),
        out_specs=split,
        check_vma=False,
    )
    whole = jax.jit(updates)(gradient, leaf)
    error = jnp.abs(jax.jit(local)(gradient, leaf) - whole).max()
    assert error > 0.1 * jnp.abs(whole).max()


# Where things lie


def test_each_device_keeps_its_eighth_through_steps():
    parallel, tx = DataParallel(data_mesh(8)), OPTIMIZERS["sgd"]
    shared = parallel.replicate({"key": jax.random.key(0)})
    eighth = {"uneven": (8, WIDTH // 8), "columns": (8, 8), "square": (8, WIDTH)}
    whole = {"uneven": (8, WIDTH), "columns": (WIDTH, 8), "square": (WIDTH, WIDTH)}
    for kind, expected in {"none": whole, "zero1": whole, "fsdp": eighth}.items():
        step, shardings = compiled_step("sgd", kind)
        state = jax.device_put(initial(tx), shardings)
        for number in range(2):
            state, _ = step(state, parallel.shard_batch(batch_at(number)), shared)
            jax.block_until_ready(state)
        momentum = optax.tree.get(state.opt_state, "trace")
        buffers = whole if kind == "none" else eighth
        for name in whole:
            own = state.params[name].addressable_shards[0].data.shape
            assert own == expected[name]
            assert momentum[name].addressable_shards[0].data.shape == buffers[name]
        for leaf in (state.params["bias"], state.step, state.model_state["seen"]):
            assert leaf.sharding.is_fully_replicated


def test_compiled_step_holds_an_eighth():
    state, shared = initial(OPTIMIZERS["sgd"]), {"key": jax.random.key(0)}
    held = {}
    for kind in get_args(StateSharding):
        step, shardings = compiled_step("sgd", kind)
        memory = step.lower(state, batch_at(0), shared).compile().memory_analysis()
        own = jax.tree.leaves(shard_shapes(state, shardings))
        expected = sum(leaf.size * leaf.dtype.itemsize for leaf in own)
        batch = 4 * (BATCH // 8) * (8 + 8)
        assert memory.argument_size_in_bytes == expected + batch
        # What goes in is the memory of what comes out.
        assert memory.alias_size_in_bytes == expected
        held[kind] = expected
    split = 4 * (8 * WIDTH + WIDTH * WIDTH + WIDTH * 8)
    assert held["none"] - held["zero1"] == split * 7 // 8
    assert held["zero1"] - held["fsdp"] == split * 7 // 8


@pytest.mark.parametrize("kind", SPLIT)
def test_split_state_is_donated_and_nothing_visits_the_host(kind):
    parallel, tx = DataParallel(data_mesh(8)), OPTIMIZERS["sgd"]
    step, shardings = compiled_step("sgd", kind)
    state = jax.device_put(initial(tx), shardings)
    shared = parallel.replicate({"key": jax.random.key(0)})
    batch = parallel.shard_batch(batch_at(0))
    with jax.transfer_guard("disallow"):
        after, metrics = jax.block_until_ready(step(state, batch, shared))
    assert np.isfinite(float(metrics["loss"]))
    momentum = optax.tree.get(state.opt_state, "trace")
    for leaf in jax.tree.leaves((state.params, momentum)):
        assert leaf.is_deleted()
    assert jax.tree.map(lambda leaf: leaf.sharding, after.params) == shardings.params


def test_parameters_are_gathered_and_not_activations():
    step, _ = compiled_step("sgd", "fsdp")
    state, shared = initial(OPTIMIZERS["sgd"]), {"key": jax.random.key(0)}
    lowered = step.lower(state, batch_at(0), shared)
    text = lowered.compile().as_text()
    assert text.count(" all-gather(") == 3
    assert " all-to-all(" not in text


def test_function_of_a_split_state_gives_what_one_of_a_whole_gives():
    def losses(state, batch, shared):
        loss, (_, metrics) = loss_fn(state.params, {}, batch, shared["key"])
        kept = {"each": 2 * batch["x"][:, 0], "uneven": state.params["uneven"]}
        return {"loss": loss, **kept} | metrics

    found = {}
    for kind in get_args(StateSharding):
        parallel, tx = DataParallel(data_mesh(8)), OPTIMIZERS["sgd"]
        shardings, _ = placed(initial(tx), kind, parallel)
        state = jax.device_put(initial(tx), shardings)
        shared = parallel.replicate({"key": jax.random.key(0)})
        evaluate = parallel.compile_pure(losses, shardings)
        result = evaluate(state, parallel.shard_batch(batch_at(0)), shared)
        assert all(x.sharding.is_fully_replicated for x in result.values())
        assert not state.params["uneven"].is_deleted()
        found[kind] = jax.device_get(result)
    for kind in SPLIT:
        jax.tree.map(np.testing.assert_array_equal, found[kind], found["none"])


# Placement


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def axes(params, **arguments):
    """Return the axis that each parameter is split along, None where it is whole."""
    found = jax.tree.leaves(parameter_shardings(params, MESH, **arguments))
    entries = [list(sharding.spec) for sharding in found]
    return {
        name: entry.index(AXIS) if AXIS in entry else None
        for name, entry in zip(leaf_names(params), entries, strict=True)
    }


def test_default_splits_the_largest_axis_that_the_devices_divide():
    params = {
        "largest": shape(8, 64, 16),
        "first of equals": shape(3, 64, 64),
        "that they divide": shape(64, 100),
        "none that they divide": shape(100, 100),
        "small": shape(63, 64),
        "just large enough": shape(64, 64),
    }
    assert axes(params) == {
        "largest": 1,
        "first of equals": 1,
        "that they divide": 0,
        "none that they divide": None,
        "small": None,
        "just large enough": 0,
    }
    assert axes({"w": shape(8), "x": shape()}, smallest=1) == {"w": 0, "x": None}


def test_buffers_follow_the_parameters_whose_paths_they_end_with():
    params = {
        "a": {"w": shape(64, 64)},
        "b": {"a": {"w": shape(64, 128)}},
        "list": [shape(128, 64), shape(8, 8)],
    }
    tx = optax.inject_hyperparams(lamb)(0.1)
    state = jax.eval_shape(lambda p: TrainState.create(p, {}, tx), params)
    found = state_shardings(state, MESH, "zero1")
    whole = NamedSharding(MESH, PartitionSpec())
    expected = parameter_shardings(params, MESH)
    for moment in ("mu", "nu"):
        assert optax.tree.get(found.opt_state, moment) == expected
    split = {sharding for sharding in jax.tree.leaves(expected)} - {whole}
    assert len(split) == 2
    others = [s for s in jax.tree.leaves(found.opt_state) if s not in split]
    assert others == [whole] * (len(jax.tree.leaves(state.opt_state)) - 6)


def test_buffer_of_another_shape_is_whole():
    state: Any = TrainState(
        jnp.zeros(()), {"w": shape(64, 64)}, {}, {"row": {"w": shape(64)}}
    )
    found = state_shardings(state, MESH, "fsdp", smallest=1)
    assert found.opt_state["row"]["w"].is_fully_replicated
    assert not found.params["w"].is_fully_replicated


def test_unknown_kind_is_refused():
    with pytest.raises(InputError, match="'zero1', 'fsdp'.; got 'zero9'"):
        state_shardings(initial(optax.sgd(0.1)), MESH, "zero9")  # pyright: ignore[reportArgumentType]


def test_mesh_without_an_axis_of_data_is_refused():
    mesh = AbstractMesh((8,), ("model",))
    with pytest.raises(InputError, match=r"axis 'data'; got .*'model'.*data_mesh"):
        parameter_shardings({"w": shape(64, 64)}, mesh)


@pytest.mark.parametrize("backend", ["shard_map", "pmap"])
def test_other_back_ends_refuse_a_split_state(backend):
    parallel = DataParallel(data_mesh(8), backend)
    shardings, _ = placed(initial(OPTIMIZERS["sgd"]), "zero1", parallel)
    with pytest.raises(InputError, match=f"jit alone.*; got {backend}: choose jit"):
        parallel.compile(lambda state, *_: (state, {}), shardings)


# Checkpoints


def some_state(seed, kind, devices):
    """Return a state whose every leaf depends on a seed, split over devices."""
    state = initial(OPTIMIZERS["injected"])
    random = np.random.default_rng(seed)
    drawn = jax.tree.map(
        lambda leaf: jnp.asarray(100 * random.normal(size=leaf.shape), leaf.dtype),
        state,
    )
    shardings, _ = placed(drawn, kind, DataParallel(data_mesh(devices)))
    return jax.device_put(drawn, shardings), shardings


def test_checkpoint_goes_from_one_sharding_and_mesh_to_another(tmp_path):
    state, _ = some_state(0, "fsdp", 8)
    expected = jax.device_get(state)
    moves = [("zero1", 2), ("none", 1), ("fsdp", 8)]
    for number, (kind, devices) in enumerate(moves):
        checkpoints = Checkpoints(
            tmp_path / str(number), best=lambda metrics: metrics.get("accuracy")
        )
        checkpoints.save(1, state, {})
        checkpoints.wait()
        like, shardings = some_state(number + 1, kind, devices)
        state = checkpoints.restore(1, like)
        checkpoints.close()
        assert jax.tree.map(lambda leaf: leaf.sharding, state) == shardings
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected)
