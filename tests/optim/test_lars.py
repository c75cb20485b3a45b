"""LARS by pencil, its invariances, and what it refuses."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lars_jax import Variant, lamb, lars, lars_mlperf, scale_by_lars
from lars_jax.optim import record_norms, trace


def test_denominator_adds_the_norms_and_not_the_vectors():
    # ||w|| = 5, ||g|| = 1, beta = 0.5: 5 / (1 + 2.5), where ||g + beta w|| is 2.06.
    w, g = jnp.array([3.0, 4.0]), jnp.array([-1.0, 0.0])
    tx = scale_by_lars(1.0, weight_decay=0.5)
    _, state = tx.update(g, tx.init(w), w)
    np.testing.assert_allclose(state.trust_ratio, 5 / 3.5, rtol=1e-6)


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


def test_update_without_parameters_or_with_another_state_is_refused():
    tx, one = scale_by_lars(), jnp.ones(2)
    with pytest.raises(ValueError, match="params=None"):
        tx.update(one, tx.init(one))
    with pytest.raises(ValueError, match=r"its own init returned; got EmptyState"):
        tx.update(one, optax.EmptyState(), one)


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (jnp.ones((4, 3), int), r"got int32\[4, 3\]"),
        (jnp.ones((1, 3)), r"got float32\[1, 3\] for \[4, 3\] at 'fc/kernel'"),
    ],
)
def test_gradient_of_another_kind_is_refused(gradient, words):
    params = {"fc": {"kernel": jnp.ones((4, 3))}}
    tx = lars(1.0)
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
        ({"accumulator_dtype": "int32"}, "floating or complex dtype; got 'int32'"),
        ({"accumulator_dtype": "flaot32"}, "accumulator_dtype .* got 'flaot32'"),
        ({"nesterov": "yes"}, "nesterov must be True or False; got 'yes'"),
        ({"telemetry": 0}, "telemetry must be True or False; got 0"),
        ({"variant": None}, "variant must be one of .*; got None"),
    ],
)
def test_argument_out_of_range_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        lars(**{"learning_rate": 0.1} | arguments)


NO_NUMBERS = [
    *(-1, -0.5, float("nan"), float("inf"), 1j, True, None, "0.1", [0.1, 0.2]),
    *(np.float32(-1), np.array(-1.0), np.array("x"), np.ones(2), np.True_),
    *(jnp.ones(1), jnp.array(True), jnp.array(1j)),
]
BELOW_ONE = {(lars, "momentum"), (lamb, "b1"), (lamb, "b2"), (trace, "decay")}
SCHEDULED = {
    (factory, name)
    for factory in (lars, lars_mlperf, lamb, scale_by_lars, record_norms)
    for name in ("learning_rate", "weight_decay")
} - {(record_norms, "weight_decay")}
NUMBERS = BELOW_ONE | SCHEDULED
NUMBERS |= {
    *((lars, "trust_coefficient"), (lars, "eps"), (lamb, "eps"), (Variant, "eps")),
    *((scale_by_lars, "trust_coefficient"), (scale_by_lars, "eps")),
}
each_number = pytest.mark.parametrize(
    ("factory", "name"),
    sorted(NUMBERS, key=str),
    ids=lambda x: getattr(x, "__name__", x),
)


def make(factory, **arguments):
    parameters = inspect.signature(factory).parameters.values()
    required = [own.name for own in parameters if own.default is own.empty]
    return factory(**dict.fromkeys(required, 0.1) | arguments)


@each_number
def test_what_is_no_number_is_refused_by_name_in_a_line(factory, name):
    refused = NO_NUMBERS.copy()
    if (factory, name) in BELOW_ONE:
        refused += [1, 1.0, np.array(1.5)]
    if (factory, name) not in SCHEDULED:
        refused.append(lambda count: 0.1)
    if name == "momentum":  # Without a buffer.
        refused.remove(None)
    line = rf"\A{name} must be .*; got .*: pass .*\Z"
    for value in refused:
        with pytest.raises(ValueError, match=line):
            make(factory, **{name: value})


@each_number
def test_any_scalar_is_a_number_and_a_traced_one_is_not_looked_at(factory, name):
    for value in (0, 0.5, np.float16(0.5), np.int64(0), np.array(0.5), jnp.bfloat16(0)):
        assert make(factory, **{name: value}) is not None
    jax.eval_shape(lambda value: make(factory, **{name: value}) and None, 7.0)


@pytest.mark.parametrize("found", [jnp.ones(3), np.ones(1), "0.1", None, 1j, True])
@pytest.mark.parametrize(("factory", "name"), sorted(SCHEDULED, key=str))
def test_schedule_must_return_a_scalar(factory, name, found):
    w = jnp.ones(3)
    tx = make(factory, **{name: lambda count: found})
    with pytest.raises(ValueError, match=f"schedule of {name} must return one real"):
        tx.update(w, tx.init(w), w)


def test_buffer_of_complex_weights_is_complex_whatever_was_asked_for():
    w = jnp.ones(2, jnp.complex64)
    state = lars(0.1, accumulator_dtype=jnp.float32).init(w)
    assert [x.dtype for x in jax.tree.leaves(state) if x.shape == (2,)] == [w.dtype]
