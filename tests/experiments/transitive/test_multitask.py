"""Ranking and context prediction on the same convolutions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.batches import PairData
from experiments.transitive.config import (
    Config,
    ContextConfig,
    ModelConfig,
    TripletConfig,
)
from experiments.transitive.context_network import (
    context_losses,
    context_network,
    noisy_pairs,
)
from experiments.transitive.multitask import ContextHeads
from experiments.transitive.pairs import INTRA, TRANSITIVE
from experiments.transitive.triplet import TripletProgram
from lars_jax.data import ArraySource

MODEL = ModelConfig(network="small", width=0.125)
CONTEXT = ContextConfig(
    patch=32, gap=4, jitter=1, least_pixels=120**2, most_pixels=130**2
)
CONFIG = Config(
    model=MODEL,
    context=CONTEXT,
    triplet=TripletConfig(
        global_batch=8,
        steps=4,
        optimizer="adam",
        hidden=64,
        embedding=64,
        init="random",
        context_weight=0.5,
    ),
    devices=1,
)


def patches(count, seed=0):
    numbers = np.random.default_rng(seed)
    return {
        "context/pair": jnp.asarray(
            numbers.integers(0, 256, (count, 2, 32, 32, 3), dtype=np.uint8)
        ),
        "context/label": jnp.asarray(numbers.integers(0, 8, count), jnp.int32),
        "context/number": jnp.arange(count, dtype=jnp.int32),
    }


def noise(count, side, seed):
    image = np.random.default_rng(seed).integers(
        0, 256, (count, side, side, 3), dtype=np.uint8
    )
    return ArraySource("noise", ("crop",), image, np.zeros(count, np.int32))


@pytest.fixture(scope="module")
def data():
    nodes = np.array([[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [4, 6], [1, 3], [5, 7]])
    kind = np.array([INTRA] * 4 + [TRANSITIVE] * 4, np.uint8)
    parent = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32)
    return PairData(noise(8, 32, 0), np.arange(8), nodes, kind, parent)


@pytest.mark.slow
def test_heads_on_shared_convolutions_are_the_context_network_without_normalisation():
    network = context_network(MODEL, normalised=False)
    shape = jax.ShapeDtypeStruct((1, 2, 32, 32, 3), jnp.float32)
    params, state = network.init(jax.random.key(3), shape)
    assert not jax.tree.leaves(state)
    batch, key = patches(5), jax.random.key(7)
    pairs = noisy_pairs(key, batch["context/pair"], batch["context/number"])
    logits, _ = network.apply(params, state, pairs)
    losses, right = context_losses(logits, batch["context/label"])

    heads = ContextHeads.create(MODEL, CONTEXT, "context")
    own = heads.init(jax.random.key(9))
    shared = {
        "trunk": params["tower"]["trunk"],
        "context": params["tower"]["head"],
        "joint": params["joint"],
    }
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(
        jnp.shape, {name: shared[name] for name in own}
    )
    loss, accuracy = heads.loss(shared, batch, jax.random.key(7))
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(accuracy, right.mean())


@pytest.mark.slow
def test_both_losses_train_the_convolutions_and_weights_are_those_of_the_ranking(data):
    frames, rows = noise(6, 130, 1), []
    program = TripletProgram(CONFIG, data, None, frames)
    before = jax.device_get(program.init().params)
    state, step = program.fit(
        program.init(), on_metrics=lambda step, row: rows.append(row)
    )
    assert step == 4
    for row in rows:
        context = (row["loss"] - row["ranking_loss"]) / 0.5
        # Eight labels by a network that has hardly begun: about log 8.
        assert 1.0 < float(context) < 6.0
        assert 0 <= float(row["context_accuracy"]) <= 1
    after = jax.device_get(state.params)
    moved = {
        name: max(
            float(np.abs(a - b).max())
            for a, b in zip(
                jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True
            )
        )
        for name in before
    }
    assert set(moved) == {"trunk", "head", "context", "joint"}
    assert min(moved.values()) > 1e-5
    assert set(program.weights(state)) == {"trunk", "head"}
    # Evaluation is of the ranking alone, and asks for no patches.
    assert program.evaluate(state)["count"] == 20 * 4


@pytest.mark.slow
def test_a_weight_of_nothing_is_the_ranking_alone(data):
    def trained(config, frames):
        program = TripletProgram(config, data, None, frames)
        state, _ = program.fit(program.init())
        return jax.device_get(program.weights(state))

    alone = replace(CONFIG, triplet=replace(CONFIG.triplet, context_weight=0.0))
    expected = trained(alone, None)
    found = trained(alone, noise(6, 130, 1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found,
        expected,
    )
