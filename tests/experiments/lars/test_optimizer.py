"""Every rule sees the same schedule and the same leaves, in one structure of state."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.lars.config import OptimizerConfig, OptimizerName, VariantName
from experiments.lars.optimizer import learning_rate, make_optimizer
from lars_jax.optim import (
    BIAS_AND_NORM,
    VARIANTS,
    exclude,
    lamb,
    lars,
    layer_norms,
    warmup_polynomial,
)

RULES: list[tuple[Any, Any]] = [(name, "paper") for name in get_args(OptimizerName)]
RULES += [("lars", name) for name in get_args(VariantName) if name != "paper"]


def test_variants_are_those_of_the_package():
    assert get_args(VariantName) == tuple(VARIANTS)


@pytest.mark.parametrize("name", ["lars", "sgd", "nesterov"])
def test_telemetry_knows_the_rate_that_each_layer_is_moved_at(name):
    config = OptimizerConfig(optimizer=name, learning_rate=3.0, weight_decay=0.0)
    tx = make_optimizer(config, total_steps=10, steps_per_epoch=1.0)
    params = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([1.0])}
    gradients = {"a": jnp.array([0.5, 0.0]), "b": jnp.array([0.1])}
    state = tx.init(params)
    for _ in range(3):
        _, state = tx.update(gradients, state, params)
    rows = layer_norms(state)
    assert rows is not None
    ratios = [0.01, 0.01] if name == "lars" else [1.0, 1.0]
    np.testing.assert_allclose(rows[:, 2], ratios, rtol=1e-6)
    # The third update is that of step 2: 3 (1 - 2 / 10)^2.
    rate = learning_rate(config, state, jnp.array(2))
    np.testing.assert_allclose(rate, 1.92, rtol=1e-6)
    np.testing.assert_allclose(rows[:, 3], 1.92 * np.array(ratios), rtol=1e-6)


def test_telemetry_of_lamb_is_that_of_its_own_ratio():
    config = OptimizerConfig(optimizer="lamb", learning_rate=0.5, weight_decay=0.0)
    tx = make_optimizer(config, total_steps=10, steps_per_epoch=1.0)
    params = {"a": jnp.array([3.0, 4.0])}
    _, state = tx.update({"a": jnp.array([0.6, 0.8])}, tx.init(params), params)
    rows = layer_norms(state)
    assert rows is not None
    # Adam's first direction is the sign of the gradient.
    ratio = 5 / 2**0.5
    np.testing.assert_allclose(rows[0], [5.0, 2**0.5, ratio, 0.5 * ratio], rtol=1e-4)


def descend(tx: optax.GradientTransformation) -> Any:
    """Return the parameters after four steps down random slopes.

    The step is compiled once, and its state keeps its structure.
    """
    random = np.random.default_rng(0)
    params: Any = {
        "dense": {
            "kernel": jnp.asarray(random.normal(size=(4, 3)), jnp.float32),
            "bias": jnp.zeros(3),
        }
    }
    state, traces = tx.init(params), []
    kinds = jax.eval_shape(lambda: state)

    @jax.jit
    def step(gradients: Any, state: Any, params: Any) -> Any:
        traces.append(None)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(4):
        gradients = jax.tree.map(
            lambda w: jnp.asarray(random.normal(size=w.shape), jnp.float32), params
        )
        params, state = step(gradients, state, params)
        assert jax.eval_shape(lambda state=state: state) == kinds
    assert len(traces) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    return params


def test_numbers_are_in_the_state_and_not_in_the_step():
    for name, variant in RULES:
        config = OptimizerConfig(optimizer=name, variant=variant)
        tx = make_optimizer(config, total_steps=10, steps_per_epoch=1.0)
        state: Any = tx.init({"kernel": jnp.ones((2, 2))})
        assert set(state.hyperparams) == {
            *("learning_rate", "end_learning_rate", "decay_power", "warmup_start"),
            *("warmup_steps", "total_steps", "momentum", "weight_decay"),
            "trust_coefficient",
        }
        for number in state.hyperparams.values():
            assert isinstance(number, jax.Array)


@pytest.mark.parametrize("variant", get_args(VariantName))
def test_variant_is_the_one_of_the_package(variant):
    config = OptimizerConfig(variant=variant, excluded="bias_and_norm")
    found = descend(make_optimizer(config, total_steps=10, steps_per_epoch=1.0))
    mask = exclude(BIAS_AND_NORM)
    schedule = warmup_polynomial(config.learning_rate, 10)
    tx = lars(
        schedule, config.weight_decay, mask, trust_ratio_mask=mask, variant=variant
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), found, descend(tx)
    )


def test_lamb_is_the_one_of_the_package_and_momentum_its_first_moment():
    config = OptimizerConfig(
        optimizer="lamb", momentum=0.5, weight_decay=0.1, excluded="bias_and_norm"
    )
    found = descend(make_optimizer(config, total_steps=10, steps_per_epoch=1.0))
    mask = exclude(BIAS_AND_NORM)
    schedule = warmup_polynomial(config.learning_rate, 10)
    decayed = {
        "weight_decay": 0.1,
        "weight_decay_mask": mask,
        "trust_ratio_mask": mask,
    }
    expected = descend(lamb(schedule, b1=0.5, **decayed))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), found, expected
    )
    plain = descend(lamb(schedule, **decayed))
    assert np.abs(plain["dense"]["kernel"] - found["dense"]["kernel"]).max() > 1e-3


def test_lamb_without_momentum_is_allowed():
    config = OptimizerConfig(optimizer="lamb", momentum=0.0, warmup_epochs=2.0)
    params = descend(make_optimizer(config, total_steps=10, steps_per_epoch=1.0))
    assert np.isfinite(params["dense"]["kernel"]).all()


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_excluded_leaves_are_neither_adapted_nor_decayed(name):
    decayed, plain = (
        OptimizerConfig(optimizer=name, weight_decay=beta, excluded="bias_and_norm")
        for beta in (0.5, 0.0)
    )
    ends = [
        descend(make_optimizer(config, total_steps=10, steps_per_epoch=1.0))
        for config in (decayed, plain)
    ]
    first, second = (end["dense"] for end in ends)
    np.testing.assert_array_equal(first["bias"], second["bias"])
    assert np.abs(first["kernel"] - second["kernel"]).max() > 1e-4
