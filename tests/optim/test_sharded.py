"""Eight devices take the steps of one, however the leaves are split over them.

Every mesh has axes of type Auto, and every step is waited for: virtual devices of one
process may abort when many steps are in flight.
"""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# pyright: reportOptionalSubscript=false

import functools
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import P
from jax.sharding import AxisType, NamedSharding

from lars_jax.optim import group_by_module, lars, layer_norms, scale_by_lars
from lars_jax.optim.layers import resolve_mesh_axes
from tests.optim.forms import accelerated

either_check = pytest.mark.parametrize("check_vma", [True, False])

LINE = ((8,), ("x",))
GRID = ((4, 2), ("x", "y"))
STEPS = 3
# Rows of a leaf differ so much that no shard has the norm of the whole.
SCALES = np.logspace(-2, 2, 8)[:, None]


def mesh_of(shape_and_names):
    shape, names = shape_and_names
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))


def some_leaf(random, *shape):
    leaf = random.normal(size=shape)
    if shape[0] == 8:
        leaf *= SCALES.reshape(8, *[1] * (len(shape) - 1))
    return jnp.asarray(leaf, jnp.float32)


def some_tree(seed):
    random = np.random.default_rng(seed)
    return {
        "whole": some_leaf(random, 3),
        "rows": some_leaf(random, 8, 3),
        "columns": some_leaf(random, 3, 2),
        "tiles": some_leaf(random, 8, 2),
        "both": some_leaf(random, 8, 3),
    }


SPECS = {
    "whole": P(),
    "rows": P("x"),
    "columns": P(None, "y"),
    "tiles": P("x", "y"),
    "both": P(("x", "y")),
}


def optimizer(variant, **arguments):
    # Large enough steps that an error in one is seen in the next.
    return lars(0.5, 0.1, variant=variant, trust_coefficient=0.1, **arguments)


def specs_of(tx, params, specs):
    """Return the specs of a state: its buffers are split as the parameters are."""
    state = jax.eval_shape(tx.init, params)
    return optax.tree.map_params(
        tx, lambda _, spec: spec, state, specs, transform_non_params=lambda _: P()
    )


def stepped(update, params, state, seeds=range(1, STEPS + 1), tree=some_tree):
    """Return parameters and telemetry after a step with the gradients of each seed."""
    for seed in seeds:
        updates, state = update(tree(seed), state, params)
        params = optax.apply_updates(params, updates)
        jax.block_until_ready(params)
    return params, layer_norms(state)


@functools.cache
def on_one_device(variant, tree=some_tree, stacked_axes=None):
    tx, params = optimizer(variant, stacked_axes=stacked_axes), tree(0)
    return stepped(jax.jit(tx.update), params, tx.init(params), tree=tree)


def mapped(tx, params, specs, mesh, *, check_vma=True, state_specs=None):
    if state_specs is None:
        state_specs = specs_of(tx, params, specs)
    return jax.jit(
        jax.shard_map(
            tx.update,
            mesh=mesh,
            in_specs=(specs, state_specs, specs),
            out_specs=(specs, state_specs),
            check_vma=check_vma,
        )
    )


def assert_equal_steps(found, expected):
    """Compare parameters, relative to the largest entry of each leaf, and telemetry."""
    for name, leaf in expected[0].items():
        error = np.abs(np.float64(found[0][name]) - np.float64(leaf)).max()
        assert error <= 1e-6 * np.abs(leaf).max(), name
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("variant", "form"),
    [
        ("paper", nullcontext),
        pytest.param("simclr_popular", nullcontext, marks=pytest.mark.slow),
        pytest.param("paper", accelerated, marks=pytest.mark.slow),
    ],
)
def test_jit_with_shardings_equals_one_device(variant, form):
    tx, params, mesh = optimizer(variant), some_tree(0), mesh_of(GRID)
    shardings = {name: NamedSharding(mesh, spec) for name, spec in SPECS.items()}
    placed = jax.device_put(params, shardings)
    with form():
        found = stepped(jax.jit(tx.update), placed, tx.init(placed))
    assert_equal_steps(found, on_one_device(variant))
    for name, leaf in found[0].items():
        assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim)


@pytest.mark.parametrize(
    ("variant", "check_vma", "form"),
    [
        ("paper", False, nullcontext),
        pytest.param("optax", True, nullcontext, marks=pytest.mark.slow),
        pytest.param("simclr_popular", True, nullcontext, marks=pytest.mark.slow),
        ("paper", True, accelerated),
    ],
)
def test_shard_map_over_a_grid_equals_one_device(variant, check_vma, form):
    params = some_tree(0)
    tx = optimizer(variant, axis_names=SPECS)
    update = mapped(tx, params, SPECS, mesh_of(GRID), check_vma=check_vma)
    with form():
        found = stepped(update, params, tx.init(params))
    assert_equal_steps(found, on_one_device(variant))


@pytest.mark.parametrize("variant", ["paper", "simclr_popular"])
def test_pmap_equals_one_device(variant):
    tx = optimizer(variant, axis_names={"rows": "x", "tiles": "x", "whole": None})

    def split(seed):
        tree = some_tree(seed)
        rows = {name: tree[name][:, None] for name in ("rows", "tiles")}
        return rows | {"whole": jnp.broadcast_to(tree["whole"], (8, 3))}

    params = split(0)
    state = jax.pmap(tx.init)(params)
    update = jax.pmap(tx.update, axis_name="x")
    found, telemetry = stepped(update, params, state, tree=split)
    # Every device knows the same of every layer.
    np.testing.assert_array_equal(telemetry, jnp.broadcast_to(telemetry[0], (8, 3, 4)))
    joined = {
        "rows": found["rows"][:, 0],
        "tiles": found["tiles"][:, 0],
        "whole": found["whole"][0],
    }
    expected, expected_telemetry = on_one_device(variant)
    positions = [sorted(SPECS).index(name) for name in joined]
    assert_equal_steps(
        (joined, telemetry[0]),
        ({name: expected[name] for name in joined}, expected_telemetry[positions, :]),
    )


LABELLED = {"a": 0, "b": {"c": 0, "d": 0}}
FORMS = {
    "name": ("x", [("x",)] * 3),
    "tuple": (("x", "y"), [("x", "y")] * 3),
    "spec": (P("x", "y"), [("x", "y")] * 3),
    "spec of both on one axis": (P(("x", "y")), [("x", "y")] * 3),
    "tree": (
        {"a": "x", "b": {"c": P("x"), "d": ("x",)}},
        [("x",)] * 3,
    ),
    "prefix": ({"a": (), "b": "x"}, [(), ("x",), ("x",)]),
    "prefix with None": ({"a": "x", "b": None}, [("x",), (), ()]),
    "function": (lambda params: {"a": P(), "b": P(None, "y")}, [(), ("y",), ("y",)]),
}


@pytest.mark.parametrize(("axes", "expected"), FORMS.values(), ids=FORMS)
def test_axes_are_told_in_any_form(axes, expected):
    assert resolve_mesh_axes(axes, LABELLED, [None] * 3) == expected


NORMS = (
    [1e-25] * 8,
    [1e25] * 8,
    [1e-25, 1e25, 1, 1, 1, 1, 1, 1],
    [0, 0, 0, 1e-25, 0, 0, 0, 2e-25],
    [0, 0, 0, 0, 0, 0, 0, 1],
)


@pytest.mark.usefixtures("accelerated")
@either_check
def test_shards_of_any_norm_are_joined(check_vma):
    w = jnp.ones((8, 1))
    tx = scale_by_lars(axis_names="x")
    update = mapped(tx, w, P("x"), mesh_of(LINE), check_vma=check_vma)
    for norms in NORMS:
        g = jnp.asarray(np.float32(norms)[:, None])
        found, state = jax.block_until_ready(update(g, tx.init(w), w))
        norm = np.linalg.norm(norms)
        np.testing.assert_allclose(state.gradient_norm, [norm], rtol=1e-6)
        ratio = 1e-3 * 8**0.5 / norm
        np.testing.assert_allclose(state.trust_ratio, [ratio], rtol=1e-6)
        # Products below 1e-38 are no float32.
        np.testing.assert_allclose(found, ratio * np.float64(g), rtol=1e-6, atol=1e-38)


def test_zeros_and_what_is_not_finite_are_known_to_all_shards():
    ones = jnp.ones((8, 2))
    w = {"zero": jnp.zeros((8, 2)), "inf": ones, "nan": ones}
    g = {"zero": ones} | {
        name: ones.at[3, 0].set(float(name)) for name in ("inf", "nan")
    }
    plain, tx = scale_by_lars(), scale_by_lars(axis_names="x")
    expected, _ = plain.update(g, plain.init(w), w)
    specs = dict.fromkeys(w, P("x"))
    found, _ = mapped(tx, w, specs, mesh_of(LINE))(g, tx.init(w), w)
    for name in w:
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_array_equal(found["zero"], ones)


def test_group_of_leaves_that_are_split_differently():
    params = {"fc": some_tree(0), "head": {"kernel": jnp.ones((2, 2))}}
    gradients = {"fc": some_tree(1), "head": {"kernel": jnp.ones((2, 2))}}
    plain = scale_by_lars(layer_groups=group_by_module)
    expected, expected_state = plain.update(gradients, plain.init(params), params)
    specs = {"fc": SPECS, "head": {"kernel": P()}}
    tx = scale_by_lars(layer_groups=group_by_module, axis_names=specs)
    update = mapped(tx, params, specs, mesh_of(GRID))
    found, state = update(gradients, tx.init(params), params)
    telemetry = layer_norms(expected_state)
    assert_equal_steps((found["fc"], layer_norms(state)), (expected["fc"], telemetry))


# Stacked leaves


def stacked_tree(seed):
    return {"blocks": some_leaf(np.random.default_rng(seed), 8, 4, 2)}


def test_stacked_leaf_is_split_within_its_layers():
    params, variant = stacked_tree(0), "simclr_popular"
    expected = on_one_device(variant, stacked_tree, 0)
    specs = {"blocks": P(None, "x", "y")}
    tx = optimizer(variant, stacked_axes=0, axis_names=specs)
    update = mapped(tx, params, specs, mesh_of(GRID))
    found = stepped(update, params, tx.init(params), tree=stacked_tree)
    assert_equal_steps(found, expected)


@pytest.mark.parametrize(
    ("axes", "check_vma"), [(P("x", None, "y"), True), ("y", False)]
)
def test_stacked_leaf_is_split_between_its_layers(axes, check_vma):
    # Devices along x hold different layers: two each, and the norms of these.
    params = stacked_tree(0)
    expected = on_one_device("paper", stacked_tree, 0)
    specs = {"blocks": P("x", None, "y")}
    tx = optimizer("paper", stacked_axes=0, axis_names=axes)
    state = tx.init(params)
    by_rank = [P(), P("x"), None, specs["blocks"]]
    state_specs = jax.tree.map(lambda x: by_rank[x.ndim], state)
    update = mapped(
        tx, params, specs, mesh_of(GRID), check_vma=check_vma, state_specs=state_specs
    )
    found = stepped(update, params, state, tree=stacked_tree)
    assert_equal_steps(found, expected)


@pytest.mark.slow
def test_stacked_leaf_split_between_its_layers_beside_others():
    # Devices know of different numbers of layers, so that the state can keep none.
    params = stacked_tree(0) | some_tree(0)
    axes = {"blocks": 0, **dict.fromkeys(SPECS)}
    plain = optimizer("paper", stacked_axes=axes)
    expected, _ = plain.update(params, plain.init(params), params)
    specs = {"blocks": P("x", None, "y"), **SPECS}
    tx = optimizer("paper", stacked_axes=axes, axis_names=specs, telemetry=False)
    update = mapped(tx, params, specs, mesh_of(GRID))
    found, _ = update(params, tx.init(params), params)
    assert_equal_steps((found, 0), (expected, 0))


# States and meshes


def test_buffers_lie_where_their_parameters_do():
    sharding = NamedSharding(mesh_of(LINE), P("x"))
    w = jax.device_put(jnp.ones((16, 2)), sharding)
    buffers = [x for x in jax.tree.leaves(lars(0.1).init(w)) if x.ndim == 2]
    assert [x.sharding.is_equivalent_to(sharding, 2) for x in buffers] == [True]


def test_steps_may_be_initialised_and_scanned_inside_shard_map():
    tx, w = lars(0.5, 0.1, axis_names="x"), some_tree(0)["rows"]

    def run(w):
        def step(carry, _):
            w, state = carry
            updates, state = tx.update(w, state, w)
            return (optax.apply_updates(w, updates), state), None

        return jax.lax.scan(step, (w, tx.init(w)), length=3)[0][0]

    mapped = jax.shard_map(run, mesh=mesh_of(LINE), in_specs=P("x"), out_specs=P("x"))
    whole = lars(0.5, 0.1)
    state, expected = whole.init(w), w
    for _ in range(3):
        updates, state = whole.update(expected, state, expected)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(jax.jit(mapped)(w), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("stacked_axes", "compiled", "form"),
    [
        pytest.param(None, False, nullcontext, marks=pytest.mark.slow),
        pytest.param(None, True, accelerated, marks=pytest.mark.slow),
        ({"split": 0, "whole": None}, True, nullcontext),
    ],
)
def test_explicit_mesh_equals_one_device(stacked_axes, compiled, form):
    tx = lars(0.5, 0.1, stacked_axes=stacked_axes)
    params = {"split": jnp.arange(1.0, 9.0), "whole": jnp.arange(2.0, 10.0)}
    expected, _ = jax.jit(tx.update)(params, tx.init(params), params)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        specs = {"split": P("x"), "whole": P()}
        shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
        placed = jax.device_put(params, shardings)
        update = jax.jit(tx.update) if compiled else tx.update
        with form():
            found, _ = update(placed, tx.init(placed), placed)
        found = jax.device_get(found)
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-6)
