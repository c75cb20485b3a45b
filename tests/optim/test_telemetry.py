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
    report = lars_report(stepped(lars(10.0)), W)
    assert report.names == ("fc/bias", "fc/kernel")
    np.testing.assert_allclose(report.values, ROWS, rtol=1e-6)


def test_report_prints_as_a_table_whose_columns_line_up():
    lines = str(lars_report(stepped(lars(10.0)), W)).splitlines()
    assert lines[0].split() == ["layer", *FIELDS]
    assert lines[2].split() == ["fc/kernel", "5", "0.5", "0.01", "0.1"]
    assert len({len(line) for line in lines}) == 1
    assert repr(lars_report(stepped(lars(10.0)), W)) == "\n".join(lines)


def test_report_shows_in_a_notebook_with_names_as_text():
    params, gradients = {"<b>&": jnp.ones(2)}, {"<b>&": jnp.ones(2)}
    page = lars_report(stepped(lars(1.0), params, gradients), params)._repr_html_()
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page
    assert page.count("<tr>") == 2
    assert page.count("<td") == len(FIELDS)


def test_report_numbers_stacked_layers():
    w = jnp.array([[3.0, 4.0], [6.0, 8.0]])
    report = lars_report(stepped(lars(1.0, stacked_axes=0), w, w), w, 0)
    assert report.names == ("[0]", "[1]")
    np.testing.assert_allclose(report.values[:, 0], [5.0, 10.0])


@pytest.mark.parametrize(
    ("tx", "words"),
    [
        (optax.sgd(0.1), "keeps telemetry"),
        (lars(0.1, telemetry=False), "keeps telemetry"),
        (lars(0.1, stacked_axes={"fc": {"bias": 0, "kernel": None}}), "3 layers"),
        (optax.masked(lars(0.1), {"fc": {"bias": False, "kernel": True}}), "1 layers"),
    ],
    ids=["sgd", "left out", "stacked", "masked"],
)
def test_state_without_these_layers_is_refused(tx, words):
    with pytest.raises(ValueError, match=words):
        lars_report(stepped(tx), W)


def test_first_link_that_keeps_telemetry_is_read():
    tx = optax.chain(optax.scale(2.0), record_norms(3.0), lars(10.0))
    rows = np.asarray(layer_norms(stepped(tx)))
    np.testing.assert_allclose(rows[:, 1], [2.0, 1.0])
    np.testing.assert_allclose(rows[:, 2:], [[1.0, 3.0]] * 2)


@pytest.mark.parametrize("check_vma", [True, False])
def test_recorded_norms_are_those_of_whole_leaves_on_a_mesh(check_vma):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    w = jnp.arange(8.0)
    tx = record_norms(axis_names="x")
    specs = jax.tree.map(lambda _: P(), jax.eval_shape(tx.init, w))

    def step(w, state):
        return tx.update(2 * w, state, w)[1]

    mapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(P("x"), specs),
        out_specs=specs,
        check_vma=check_vma,
    )
    state = jax.jit(mapped)(w, tx.init(w))
    np.testing.assert_allclose(state.weight_norm, [np.sqrt(140.0)], rtol=1e-6)
    np.testing.assert_allclose(state.gradient_norm, [np.sqrt(560.0)], rtol=1e-6)
