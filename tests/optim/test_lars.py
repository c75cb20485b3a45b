"""LARS by pencil, its invariances, and what it refuses."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lars_jax import lamb, lars, layer_norms, scale_by_lars


def test_denominator_adds_the_norms_and_not_the_vectors():
    # ||w|| = 5, ||g|| = 1, beta = 0.5: 5 / (1 + 2.5), where ||g + beta w|| is 2.06.
    w, g = jnp.array([3.0, 4.0]), jnp.array([-1.0, 0.0])
    tx = scale_by_lars(1.0, weight_decay=0.5)
    _, state = tx.update(g, tx.init(w), w)
    np.testing.assert_allclose(state.trust_ratio, 5 / 3.5, rtol=1e-6)


def test_global_rate_sits_inside_the_momentum():
    # Two steps at rates 1 and then 0: the second still moves by the momentum alone.
    rates = jnp.array([1.0, 0.0])
    tx = lars(lambda count: rates[count], trust_coefficient=0.5)
    w, g = jnp.array([2.0]), jnp.array([4.0])
    first, state = tx.update(g, tx.init(w), w)
    second, _ = tx.update(g, state, w)
    np.testing.assert_allclose(first, [-1.0])  # 1 * 0.5 * 2 / 4 * 4
    np.testing.assert_allclose(second, [-0.9])


@pytest.mark.parametrize(("w", "g"), [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)])
def test_zero_norm_leaf_has_ratio_one(w, g):
    tx = scale_by_lars(weight_decay=0.1)
    weights = jnp.array([w])
    update, state = tx.update(jnp.array([g]), tx.init(weights), weights)
    np.testing.assert_array_equal(state.trust_ratio, [1.0])
    np.testing.assert_allclose(update, [g + 0.1 * w], rtol=1e-6)


def test_gradient_through_an_update_of_a_zero_leaf_is_finite():
    tx = scale_by_lars()

    def moved(w):
        update, _ = tx.update(jnp.zeros(3), tx.init(w), w)
        return jnp.sum(update)

    assert jnp.all(jnp.isfinite(jax.grad(moved)(jnp.ones(3))))


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-6, 1e6))
def test_without_decay_the_update_ignores_the_scale_of_the_gradient(scale):
    w, g = jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, 0.1, -0.2])
    tx = scale_by_lars()
    plain, _ = tx.update(g, tx.init(w), w)
    scaled, _ = tx.update(g * jnp.float32(scale), tx.init(w), w)
    np.testing.assert_allclose(scaled, plain, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(beta=st.floats(0, 10), gradient=st.floats(-1e3, 1e3))
def test_no_leaf_moves_further_than_its_trust_in_it(beta, gradient):
    # ||g + beta w|| <= ||g|| + beta ||w||, so lambda ||g + beta w|| <= eta ||w||.
    w, g = jnp.array([3.0, 4.0]), jnp.array([gradient, 1.0])
    tx = scale_by_lars(0.01, weight_decay=beta)
    update, _ = tx.update(g, tx.init(w), w)
    assert jnp.linalg.norm(update) <= 0.01 * 5.0 * (1 + 1e-5)


def test_step_vanishes_at_a_regularised_optimum():
    # Where g = -beta w nothing should move; ||g + beta w|| below would divide 0 by 0.
    w = jnp.array([3.0, 4.0])
    tx = scale_by_lars(weight_decay=0.05)
    update, _ = tx.update(-0.05 * w, tx.init(w), w)
    np.testing.assert_allclose(update, [0.0, 0.0], atol=1e-9)


def test_bfloat16_leaf_is_measured_in_float32_and_updated_in_bfloat16():
    w = jnp.full((4096,), 1.0 + 2**-7, jnp.bfloat16)
    g = jnp.full((4096,), 3e-3, jnp.bfloat16)
    tx = scale_by_lars()
    update, state = tx.update(g, tx.init(w), w)
    wide_w, wide_g = np.asarray(w, np.float64), np.asarray(g, np.float64)
    expected = 1e-3 * np.linalg.norm(wide_w) / np.linalg.norm(wide_g)
    assert update.dtype == jnp.bfloat16
    assert state.trust_ratio.vector.dtype == jnp.float32
    np.testing.assert_allclose(state.trust_ratio, expected, rtol=1e-6)


def test_state_keeps_shape_and_dtype_of_every_leaf_from_init_on():
    weights = {"a": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.ones(3)}
    tx = lars(0.1, 1e-4)
    before = tx.init(weights)
    _, after = tx.update(weights, before, weights)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), before)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), after)


def test_frozen_parameter_may_have_no_gradient():
    weights = {"frozen": jnp.ones(2), "free": jnp.ones(2)}
    tx = scale_by_lars()
    updates, state = tx.update(
        {"frozen": None, "free": jnp.ones(2)}, tx.init(weights), weights
    )
    assert updates["frozen"] is None
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(weights))


def test_update_without_parameters_is_refused():
    tx = scale_by_lars()
    with pytest.raises(ValueError, match="params=None"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_rate_decay_and_coefficient_are_traced():
    traces = []

    def factory(learning_rate, weight_decay, trust_coefficient):
        traces.append(None)
        return lars(learning_rate, weight_decay, trust_coefficient=trust_coefficient)

    tx = optax.inject_hyperparams(factory)(0.1, 1e-4, 1e-3)
    w = jnp.ones(3)
    state = tx.init(w)
    step = jax.jit(tx.update)
    update_small, state = step(w, state, w)
    count = len(traces)
    state.hyperparams["learning_rate"] = jnp.float32(1.0)
    update_large, _ = step(w, state._replace(inner_state=tx.init(w).inner_state), w)
    assert len(traces) == count + 1  # the fresh init; the step was not traced again
    np.testing.assert_allclose(update_large, 10 * update_small, rtol=1e-5)


def test_layer_norms_are_those_of_the_last_update_in_leaf_order():
    weights = {"b": jnp.array([3.0, 4.0]), "a": jnp.array([2.0])}
    gradients = {"b": jnp.array([0.0, 1.0]), "a": jnp.array([4.0])}
    tx = optax.chain(optax.identity(), lars(1.0, trust_coefficient=0.1))
    _, state = tx.update(gradients, tx.init(weights), weights)
    rows = layer_norms(state)
    np.testing.assert_allclose(rows, [[2, 4, 0.05, 0.05], [5, 1, 0.5, 0.5]], rtol=1e-6)


def test_state_without_norms_has_none():
    tx = optax.sgd(0.1)
    assert layer_norms(tx.init(jnp.ones(2))) is None


def test_sharded_leaf_has_the_norm_of_the_whole():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("x"))
    w = jnp.arange(16.0).reshape(8, 2) + 1.0
    g = jnp.sin(w)
    tx = lars(1.0, 0.01)
    expected, _ = tx.update(g, tx.init(w), w)
    split_w, split_g = jax.device_put((w, g), rows)
    found, _ = jax.jit(tx.update)(split_g, tx.init(split_w), split_w)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (jnp.ones((4, 3), int), r"got int32\[4, 3\]"),
        (jnp.ones((1, 3)), r"got float32\[1, 3\] for \[4, 3\] at 'fc/kernel'"),
    ],
)
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_gradient_of_another_kind_is_refused(gradient, words, momentum):
    params = {"fc": {"kernel": jnp.ones((4, 3))}}
    tx = lars(1.0, momentum=momentum)
    with pytest.raises(ValueError, match=words):
        tx.update({"fc": {"kernel": gradient}}, tx.init(params), params)


def test_decay_of_complex_weights_keeps_its_imaginary_part():
    w, g = jnp.array([1.0 + 2.0j], jnp.complex64), jnp.ones(1)
    tx = lars(1.0, 0.5, trust_ratio_mask=False, momentum=None)
    updates, _ = tx.update(g, tx.init(w), w)
    np.testing.assert_allclose(updates, [-1.5 - 1.0j])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weight_decay": -0.1}, "weight_decay must be a finite number"),
        ({"weight_decay": "0.1"}, "got '0.1'"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a finite number"),
        ({"learning_rate": float("nan")}, "learning_rate .* got nan"),
        ({"trust_coefficient": float("nan")}, "trust_coefficient"),
        ({"eps": -1e-8}, "eps"),
        ({"momentum": 1.0}, "at least 0 and below 1"),
        ({"momentum": True}, "got True"),
        ({"accumulator_dtype": jnp.int32}, "floating or complex; got int32"),
    ],
)
def test_argument_out_of_range_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        lars(**{"learning_rate": 0.1} | arguments)


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_decay_of_a_moment_is_below_one(name):
    with pytest.raises(ValueError, match=f"{name} must .* below 1; got 1.0"):
        lamb(0.1, **{name: 1.0})


def test_state_of_another_optimizer_is_refused():
    tx = scale_by_lars()
    with pytest.raises(ValueError, match=r"its own init returned; got EmptyState"):
        tx.update(jnp.ones(2), optax.EmptyState(), jnp.ones(2))


def test_buffer_of_complex_weights_is_complex_whatever_was_asked_for():
    w = jnp.ones(2, jnp.complex64)
    state = lars(0.1, accumulator_dtype=jnp.float32).init(w)
    assert [x.dtype for x in jax.tree.leaves(state) if x.shape == (2,)] == [w.dtype]
