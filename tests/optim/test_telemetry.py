"""The report of a step, and norms measured for optimizers that have none."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import P

from lars_jax.optim import FIELDS, lars, lars_report, layer_norms, record_norms

W = {"fc": {"bias": jnp.array([0.0, 2.0]), "kernel": jnp.array([3.0, 4.0])}}
G = {"fc": {"bias": jnp.array([1.0, 0.0]), "kernel": jnp.array([0.0, 0.5])}}
ROWS = [[2.0, 1.0, 0.002, 0.02], [5.0, 0.5, 0.01, 0.1]]


def stepped(tx, w=W, g=G):
    return tx.update(g, tx.init(w), w)[1]


def test_report_names_every_layer_with_its_four_numbers():
    report = lars_report(stepped(lars(10.0)))
    assert report.names == ("fc/bias", "fc/kernel")
    np.testing.assert_allclose(report.values, ROWS, rtol=1e-6)


def test_report_prints_as_a_table_whose_columns_line_up():
    lines = str(lars_report(stepped(lars(10.0)))).splitlines()
    assert lines[0].split() == ["layer", *FIELDS]
    assert lines[2].split() == ["fc/kernel", "5", "0.5", "0.01", "0.1"]
    assert len({len(line) for line in lines}) == 1
    assert repr(lars_report(stepped(lars(10.0)))) == "\n".join(lines)


def test_report_shows_in_a_notebook_with_names_as_text():
    params, gradients = {"<b>&": jnp.ones(2)}, {"<b>&": jnp.ones(2)}
    page = lars_report(stepped(lars(1.0), params, gradients))._repr_html_()
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page
    assert page.count("<tr>") == 2
    assert page.count("<td") == len(FIELDS)


@pytest.mark.parametrize("tx", [optax.sgd(0.1), lars(0.1, telemetry=False)])
def test_state_without_telemetry_is_refused(tx):
    with pytest.raises(ValueError, match="keeps telemetry"):
        lars_report(stepped(tx))
    assert layer_norms(stepped(tx)) is None


def test_report_of_no_layer_is_its_heading():
    assert str(lars_report(lars(1.0).init({}))).split() == ["layer", *FIELDS]


WRAPPED = {
    "chain": lambda tx: optax.chain(optax.identity(), tx),
    "inject": lambda tx: optax.inject_hyperparams(lambda rate: tx)(0.0),
    "steps": lambda tx: optax.MultiSteps(tx, 1),
    "finite": lambda tx: optax.apply_if_finite(tx, 1),
    "masked": lambda tx: optax.masked(tx, True),
    "partition": lambda tx: optax.partition({"a": tx}, {"fc": "a"}),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_state_says_which_layer_has_which_value_whatever_is_around_it(wrap):
    with jax.numpy_dtype_promotion("standard"):  # MultiSteps needs it.
        state = jax.jit(lambda: stepped(wrap(lars(10.0))))()
    ratio = optax.tree.get(state, "trust_ratio")
    assert list(ratio) == ["fc/bias", "fc/kernel"]
    np.testing.assert_allclose(ratio["fc/kernel"], 0.01, rtol=1e-6)
    assert str(ratio) == "fc/bias: 0.002, fc/kernel: 0.01"
    np.testing.assert_allclose(lars_report(state).values, ROWS, rtol=1e-6)


def test_value_of_an_unknown_layer_is_a_key_error():
    ratio = stepped(lars(10.0)).trust_ratio
    assert "fc" not in ratio
    with pytest.raises(KeyError, match="fc"):
        ratio["fc"]


def test_masked_layers_have_no_name():
    tx = optax.masked(lars(0.1), {"fc": {"bias": False, "kernel": True}})
    assert lars_report(stepped(tx)).names == ("fc/kernel",)


@pytest.mark.slow
def test_values_of_an_ensemble_are_those_of_its_members():
    w, g = (jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree) for tree in (W, G))
    tx = lars(10.0)
    _, state = jax.vmap(tx.update)(g, jax.vmap(tx.init)(w), w)
    np.testing.assert_allclose(state.weight_norm["fc/kernel"], [5.0, 10.0])
    assert str(state.weight_norm) == "fc/bias: [2. 4.], fc/kernel: [ 5. 10.]"
    assert np.asarray(layer_norms(state)).shape == (2, 2, 4)


def test_names_come_back_after_optax_has_mapped_over_a_state():
    tx = lars(10.0)
    zeros = optax.tree.map_params(
        tx, jnp.zeros_like, tx.init(W), transform_non_params=jnp.zeros_like
    )
    step = jax.jit(tx.update)
    for state in (zeros, tx.init(W)):
        _, after = step(G, state, W)
        assert tuple(after.trust_ratio) == ("fc/bias", "fc/kernel")


def test_names_are_a_part_of_the_type_of_a_state():
    one, other = (stepped(lars(1.0), {n: W}, {n: G}) for n in ("one", "other"))
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert jax.tree.structure(one) == jax.tree.structure(lars(2.0).init({"one": W}))
    with pytest.raises(ValueError, match="one/fc"):
        jax.tree.map(lambda a, b: a, one.trust_ratio, other.trust_ratio)


def test_first_link_that_keeps_telemetry_is_read():
    tx = optax.chain(optax.scale(2.0), record_norms(3.0), lars(10.0))
    rows = np.asarray(layer_norms(stepped(tx)))
    np.testing.assert_allclose(rows[:, 1], [2.0, 1.0])
    np.testing.assert_allclose(rows[:, 2:], [[1.0, 3.0]] * 2)


def test_report_has_the_layers_of_every_part():
    params = {"x": jnp.array([3.0, 4.0]), "y": jnp.array([6.0, 8.0])}
    tx = optax.partition({"x": lars(1.0), "y": lars(2.0)}, {"x": "x", "y": "y"})
    report = lars_report(tx.update(params, tx.init(params), params)[1])
    assert sorted(report.names) == ["x", "y"]
    assert report.values[report.names.index("y"), 0] == 10.0


def test_report_of_a_state_without_names_is_refused():
    tx = lars(10.0)
    bare = optax.tree.map_params(tx, jnp.zeros_like, tx.init(W))
    with pytest.raises(ValueError, match="names of layers; got a state of 2 with 0"):
        lars_report(bare)


def test_recorded_norms_are_those_of_whole_leaves_on_a_mesh():
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    w = jnp.arange(8.0)
    tx = record_norms(axis_names="x")
    specs = jax.tree.map(lambda _: P(), jax.eval_shape(tx.init, w))

    def step(w, state):
        return tx.update(2 * w, state, w)[1]

    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P("x"), specs), out_specs=specs)
    state = jax.jit(mapped)(w, tx.init(w))
    np.testing.assert_allclose(state.weight_norm, [np.sqrt(140.0)], rtol=1e-6)
    np.testing.assert_allclose(state.gradient_norm, [np.sqrt(560.0)], rtol=1e-6)


def test_state_goes_through_the_bytes_of_flax():
    from flax import serialization

    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    tx = lars(1.0, 1e-4)
    _, state = tx.update(params, tx.init(params), params)
    saved = serialization.to_bytes(state)
    found = serialization.from_bytes(tx.init(params), saved)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, found, state)
    assert found.trust_ratio.names == state.trust_ratio.names
