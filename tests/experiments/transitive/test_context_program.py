import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.config import Config, ModelConfig
from experiments.transitive.context_network import context_network, convolutions
from experiments.transitive.context_program import (
    ContextProgram,
    context_optimizer,
    split_photographs,
)
from lars_jax.data import hold_out
from lars_jax.errors import InputError
from lars_jax.models import vgg16
from lars_jax.runs import Cadence
from lars_jax.train import Hook, Interrupt
from tests.experiments.transitive.photographs import SMALL, photographs
from tests.models.support import abstract

CONFIG = Config(
    context=replace(
        SMALL, context_batch=16, context_steps=4, context_optimizer="lars", blur=0.0
    ),
    model=ModelConfig(width=1 / 32),
    seed=5,
    devices=2,
)


@functools.cache
def program():
    train, test = hold_out(photographs(6), 2)
    return ContextProgram(CONFIG, {"train": train, "test": test})


def trained(state, start=0, stop_after=None):
    """The state at the end of the run, or after so many steps of it, and its rows."""
    rows, seen = {}, []

    class Stop(Interrupt):
        @property
        def requested(self):
            return len(seen) == stop_after

    state, step = program().fit(
        state,
        start=start,
        on_metrics=rows.__setitem__,
        hooks=(Hook(lambda step: True, lambda step, state: seen.append(step)),),
        interrupt=Stop(),
    )
    assert step == start + len(seen)
    return state, rows


def host(tree):
    return jax.tree.map(np.asarray, tree)


@pytest.mark.slow
def test_run_ends_with_weights_of_vgg16_and_goes_on_bit_for_bit():
    whole, rows = trained(program().init())
    assert list(rows) == [1, 2, 3, 4]
    assert all(np.isfinite(row["loss"]) for row in rows.values())
    assert all(0 <= row["accuracy"] <= 1 for row in rows.values())
    assert rows[1]["loss"] == pytest.approx(np.log(8), abs=0.1)

    weights = program().weights(whole)
    params, _ = abstract(vgg16(width=1 / 32), 1, 32, 32, 3)
    assert jax.tree.map(lambda leaf: leaf.shape, weights) == jax.tree.map(
        lambda leaf: leaf.shape, params
    )
    folded = convolutions(whole.params, whole.model_state)
    assert jax.tree.all(jax.tree.map(np.array_equal, host(weights), host(folded)))

    evaluation = program().evaluate(whole, Interrupt())
    assert evaluation["count"] == 8 * len(program().test) == 16
    assert evaluation == program().evaluate(whole, Interrupt())
    assert program().score(evaluation) == evaluation["accuracy"]
    assert "chance 12.5" in program().format_evaluation(evaluation)

    half, _ = trained(program().init(), stop_after=2)
    # On the host and back, as a checkpoint would have it.
    resumed, later = trained(program().parallel.replicate(host(half)), start=2)
    assert jax.tree.all(jax.tree.map(np.array_equal, host(resumed), host(whole)))
    assert later[4]["loss"] == rows[4]["loss"]


@pytest.mark.slow
def test_shapes_and_places_are_those_of_the_state():
    like, state = program().like(), program().init()
    assert jax.tree.structure(like) == jax.tree.structure(state)
    for shape, leaf in zip(jax.tree.leaves(like), jax.tree.leaves(state), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)
        assert shape.sharding.is_equivalent_to(leaf.sharding, leaf.ndim)


@pytest.mark.slow
def test_seed_alone_draws_the_weights():
    again = ContextProgram(CONFIG, {"train": photographs(9)}).init()
    other = ContextProgram(replace(CONFIG, seed=6), {"train": photographs(9)})
    first = host(program().init().params)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, host(again.params)))
    kernels = (first, host(other.init().params))
    one, two = (k["tower"]["trunk"]["conv1_1"]["kernel"] for k in kernels)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (4, Cadence(4, 1, 1)),
        (2000, Cadence(2000, 100, 100)),
        (1_000_000, Cadence(1_000_000, 50_000, 1000)),
    ],
)
def test_cadence_follows_the_length_of_the_run(steps, expected):
    context = replace(CONFIG.context, context_steps=steps)
    config = replace(CONFIG, context=context)
    found = ContextProgram(config, {"train": photographs(6)})
    assert found.cadence == expected


@pytest.mark.parametrize("rule", ["lars", "sgd", "adam"])
def test_first_steps_warm_up_and_the_last_has_no_rate_left(rule):
    config = replace(
        CONFIG.context, context_optimizer=rule, context_rate=0.1, context_steps=40
    )
    tx = context_optimizer(config)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}

    def step(state: Any, _: None) -> Any:
        updates: Any
        updates, state = tx.update(params, state, params)
        return state, jnp.abs(updates["kernel"]).max()

    # Optax's Adam mixes types.
    with jax.numpy_dtype_promotion("standard"):
        _, sizes = jax.lax.scan(step, tx.init(params), None, 41)
    assert sizes[0] == 0.0 < sizes[1] < sizes[2]
    assert sizes.max() > 2 * sizes[40]


def test_full_size_is_a_step_that_type_checks():
    network = context_network(ModelConfig())
    params, state = abstract(network, 2, 2, 96, 96, 3)
    pairs = jax.ShapeDtypeStruct((2, 2, 96, 96, 3), jnp.float32)
    train = functools.partial(network.apply, train=True)
    logits, after = jax.eval_shape(train, params, state, pairs)
    assert logits.shape == (2, 8)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_photographs_are_held_out_where_none_are_given():
    source, other = photographs(30), photographs(4)
    train, test = split_photographs({"train": source})
    assert (len(train), len(test)) == (27, 3)
    assert split_photographs({"train": source, "test": other}) == (source, other)
    assert [len(part) for part in split_photographs({"train": photographs(2)})] == [
        1,
        1,
    ]


def test_it_is_told_that_scenes_of_the_evaluation_are_trained_on():
    found = ContextProgram(CONFIG, {"train": photographs(30)})
    (line,) = found.describe(found.like())
    assert "27 photographs to train on, 3 others to evaluate" in line


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({}, "got none"),
        ({"train": 1}, "got 1 train"),
        ({"train": 3, "test": 0}, "got 3 train, 0 test"),
        ({"test": 3}, "got 3 test"),
    ],
)
def test_too_few_photographs_are_refused(sizes, told):
    sources = {name: photographs(size) for name, size in sizes.items()}
    with pytest.raises(InputError, match=told):
        ContextProgram(CONFIG, sources)


def test_batch_that_does_not_fit_is_refused():
    sources = {"train": photographs(3)}
    with pytest.raises(InputError, match="got 16 examples on 3 devices"):
        ContextProgram(replace(CONFIG, devices=3), sources)
    odd = replace(CONFIG, context=replace(CONFIG.context, context_batch=7))
    with pytest.raises(InputError, match="must be even"):
        ContextProgram(odd, sources)
