"""Layers that are slices of a leaf, or several leaves, against the same apart."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false, reportOperatorIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax.optim import (
    VARIANTS,
    exclude_vectors,
    group_by_module,
    lars,
    lars_mlperf,
    layer_names,
    layer_norms,
    path_labels,
    scale_by_lars,
)

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def some_layers(shape=(3, 2), scales=(1.0, 10.0, 0.1, 0.0)):
    """Layers of very different scale and gradients of much the same."""
    random = np.random.default_rng(0)
    weights = [scale * random.normal(size=shape) for scale in scales]
    gradients = [random.normal(size=shape) for _ in scales]
    return np.float32(weights), np.float32(gradients)


def steps(tx, params, gradients, count=2):
    """Return parameters and telemetry after a few steps."""
    state = tx.init(params)
    for _ in range(count):
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, layer_norms(state)


def assert_near(found, expected, rtol=1e-6):
    """Compare arrays relative to the largest entry, which is what float32 keeps."""
    found, expected = np.float64(found), np.float64(expected)
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max()


# Stacked axes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "axis"), [*((variant, 0) for variant in VARIANTS), ("paper", -1)]
)
def test_slices_are_as_if_they_were_leaves_or_mapped_over(variant, axis):
    weights, gradients = some_layers()
    settings = {"variant": variant, "trust_coefficient": 0.1}
    tx = lars(0.5, 0.01, **settings)
    apart = {f"{i}": w for i, w in enumerate(weights)}
    gradients_apart = {f"{i}": g for i, g in enumerate(gradients)}
    expected, expected_rows = steps(tx, apart, gradients_apart)
    mapped, _ = jax.vmap(tx.update)(gradients, jax.vmap(tx.init)(weights), weights)
    stacked = lars(0.5, 0.01, **settings, stacked_axes=axis)
    weights, gradients = (np.moveaxis(x, 0, axis) for x in (weights, gradients))
    first, _ = stacked.update(gradients, stacked.init(weights), weights)
    assert_near(np.moveaxis(first, axis, 0), mapped)
    found, rows = steps(stacked, weights, gradients)
    for i, layer in enumerate(np.moveaxis(found, axis, 0)):
        assert_near(layer, expected[f"{i}"])
    np.testing.assert_allclose(rows, expected_rows, rtol=1e-6)


def test_slices_have_ratios_of_their_own():
    # ||w|| of the slices: 5 and 10; ||g||: 1 and 4.
    w = jnp.array([[3.0, 4.0], [6.0, 8.0]])
    g = jnp.array([[1.0, 0.0], [0.0, 4.0]])
    tx = lars(2.0, trust_coefficient=0.1, stacked_axes=0)
    updates, state = tx.update(g, tx.init(w), w)
    rows = [[5, 1, 0.5, 1.0], [10, 4, 0.25, 0.5]]
    np.testing.assert_allclose(layer_norms(state), rows, rtol=1e-6)
    np.testing.assert_allclose(updates, [[-1.0, 0.0], [0.0, -2.0]], rtol=1e-6)


def some_tree():
    random = np.random.default_rng(0)

    def leaf(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    return {
        "blocks": {"kernel": leaf(3, 4, 2), "bias": leaf(3, 2)},
        "head": {"kernel": leaf(2, 3), "bias": leaf(3)},
    }


AXES = {
    "prefix": {"blocks": 0, "head": None},
    "whole tree": {
        "blocks": {"kernel": 0, "bias": 0},
        "head": {"kernel": None, "bias": None},
    },
    "negative": {"blocks": {"kernel": -3, "bias": -2}, "head": None},
    "function": lambda params: {"blocks": 0, "head": None},
}


def test_axes_are_told_by_trees_prefixes_and_functions_and_rows_have_names():
    params = some_tree()
    by_hand = [
        *jnp.linalg.norm(params["blocks"]["bias"], axis=1),
        *jnp.linalg.norm(params["blocks"]["kernel"], axis=(1, 2)),
        jnp.linalg.norm(params["head"]["bias"]),
        jnp.linalg.norm(params["head"]["kernel"]),
    ]
    names = (
        *(f"blocks/bias[{i}]" for i in range(3)),
        *(f"blocks/kernel[{i}]" for i in range(3)),
        "head/bias",
        "head/kernel",
    )
    for axes in AXES.values():
        tx = scale_by_lars(stacked_axes=axes)
        _, state = tx.update(params, tx.init(params), params)
        np.testing.assert_allclose(state.weight_norm, by_hand, rtol=1e-6)
        assert layer_names(params, axes) == tuple(state.trust_ratio) == names


def test_first_layers_may_be_stacked_by_another_axis_than_the_rest():
    # Several first layers on one trunk: axis 0 in one leaf, the last axis in the other.
    params = {"first": some_tree()["blocks"]["kernel"], "trunk": jnp.ones((5, 2))}
    tx = scale_by_lars(stacked_axes={"first": 0, "trunk": -1})
    updates, state = tx.update(params, tx.init(params), params)
    assert len(state.trust_ratio) == 3 + 2
    # A gradient equal to the weights has eta for its ratio in every layer.
    np.testing.assert_allclose(state.trust_ratio, [1e-3] * 5, rtol=1e-6)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)


def test_vector_of_stacked_scalars_has_a_ratio_for_each():
    w, g = jnp.array([1.0, 2.0, 0.0]), jnp.array([2.0, -2.0, 3.0])
    tx = scale_by_lars(0.1, stacked_axes=0)
    updates, _ = tx.update(g, tx.init(w), w)
    np.testing.assert_allclose(updates, [0.1, -0.2, 3.0], rtol=1e-6)


def test_slices_of_low_rank_count_as_vectors_to_mlperf():
    params = some_tree()
    tx = lars_mlperf(1.0, 0.5, stacked_axes={"blocks": 0, "head": None}, momentum=None)
    updates, _ = tx.update(params, tx.init(params), params)
    for module in params:
        # Neither adapted nor decayed: the gradient itself.
        bias = params[module]["bias"]
        np.testing.assert_array_equal(updates[module]["bias"], -bias)
    # eta / (1 + beta) * (1 + beta) = eta
    kernel = params["blocks"]["kernel"]
    np.testing.assert_allclose(updates["blocks"]["kernel"], -1e-3 * kernel, rtol=1e-6)


@pytest.mark.parametrize(
    ("axis", "params", "words"),
    [
        (3, {"ok": jnp.ones((2, 2, 2, 2)), "flat": jnp.ones(())}, "'flat'"),
        (-4, {"ok": jnp.ones((2, 2, 2, 2)), "flat": jnp.ones(())}, "'flat'"),
        (0, {"flat": jnp.ones(())}, "'flat'"),
        (2, {"w": jnp.ones((3, 4))}, r"2 for 'w' of\s+shape \(3, 4\)"),
        ({"other": 0}, {"w": jnp.ones((3, 4))}, r"a value at \['other'\]"),
    ],
)
def test_axis_that_a_leaf_does_not_have_is_refused_by_name(axis, params, words):
    with pytest.raises(ValueError, match=words):
        scale_by_lars(stacked_axes=axis).init(params)


@pytest.mark.parametrize("axis", [True, 0.0, "0", {"a": True, "b": None}])
def test_axis_that_is_no_integer_is_refused(axis):
    with pytest.raises(ValueError, match="got .* for 'a' of shape .2, 3."):
        scale_by_lars(stacked_axes=axis).init({"a": jnp.ones((2, 3)), "b": jnp.ones(1)})


@pytest.mark.parametrize("axes", [3, True, {"a": 0}, jax.P(1)])
def test_mesh_axis_that_has_no_name_is_refused(axes):
    tx, params = scale_by_lars(axis_names=axes), {"a": jnp.ones(2)}
    with pytest.raises(ValueError, match="axis_names must be names .*; got "):
        tx.update(params, tx.init(params), params)


def test_leaf_without_slices_moves_by_nothing():
    params = {"none": jnp.zeros((0, 3)), "some": jnp.ones((2, 3))}
    tx = lars(0.1, stacked_axes=0)
    updates, state = tx.update(params, tx.init(params), params)
    assert updates["none"].shape == (0, 3)
    assert layer_norms(state).shape == (2, 4)


# Groups


def kernel_and_bias():
    """Return a module of norm 5 with a gradient of norm 1."""
    params = {"fc": {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([4.0])}}
    gradients = {"fc": {"kernel": jnp.array([[0.0, 0.6]]), "bias": jnp.array([0.8])}}
    return params, gradients


def test_kernel_and_bias_of_a_group_share_one_ratio():
    params, gradients = kernel_and_bias()
    tx = scale_by_lars(0.1, layer_groups=group_by_module)
    updates, state = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(state.trust_ratio, [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(updates["fc"]["bias"], [0.4], rtol=1e-6)
    np.testing.assert_allclose(updates["fc"]["kernel"], [[0.0, 0.3]], rtol=1e-6)


def test_decay_of_a_group_is_that_of_its_leaves_that_decay():
    # ||g|| + beta ||kernel|| = 1 + 0.5 * 3; the bias does not decay.
    params, gradients = kernel_and_bias()
    tx = scale_by_lars(
        0.1,
        0.5,
        weight_decay_mask=exclude_vectors(),
        layer_groups=group_by_module,
    )
    updates, state = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(state.trust_ratio, [0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(updates["fc"]["bias"], [0.16], rtol=1e-6)
    np.testing.assert_allclose(updates["fc"]["kernel"], [[0.3, 0.12]], rtol=1e-6)


@every_variant
def test_group_moves_as_its_leaves_in_one_array_do(variant):
    weights, gradients = some_layers(scales=(1.0, 10.0))
    one, one_gradient = (x.reshape(1, -1) for x in (weights, gradients))
    expected, _ = steps(lars(0.5, 0.01, variant=variant), one, one_gradient)
    tx = lars(0.5, 0.01, variant=variant, layer_groups={"a": "both", "b": "both"})
    found, _ = steps(
        tx,
        {"a": weights[0], "b": weights[1]},
        {"a": gradients[0], "b": gradients[1]},
    )
    assert_near(jnp.stack([found["a"], found["b"]]).reshape(1, -1), expected)


def test_leaf_alone_in_its_group_is_as_without():
    params = some_tree()
    alone = {
        "blocks": {"kernel": "a", "bias": "b"},
        "head": {"kernel": "c", "bias": None},
    }
    found, _ = steps(lars(0.5, 0.01, layer_groups=alone), params, params)
    expected, _ = steps(lars(0.5, 0.01), params, params)
    jax.tree.map(assert_near, found, expected)


@pytest.mark.parametrize(
    "groups",
    [
        group_by_module,
        {"blocks": "x", "head": "y"},
        path_labels({"^blocks": "first", ".*": "second"}),
    ],
)
def test_groups_are_told_by_functions_trees_and_rules(groups):
    params = some_tree()
    gradients = jax.tree.map(jnp.ones_like, params)
    tx = scale_by_lars(layer_groups=groups)
    _, state = tx.update(gradients, tx.init(params), params)
    ratios = np.asarray(state.trust_ratio)
    assert ratios[0] == ratios[1] != ratios[2] == ratios[3]


def test_groups_of_stacked_leaves_share_slice_by_slice():
    params = some_tree()
    axes = {"blocks": 0, "head": None}
    gradients = jax.tree.map(jnp.ones_like, params)
    tx = scale_by_lars(stacked_axes=axes, layer_groups=group_by_module)
    _, state = tx.update(gradients, tx.init(params), params)
    blocks = params["blocks"]
    norms = [
        np.sqrt(np.sum(kernel**2) + np.sum(bias**2))
        for kernel, bias in zip(*map(np.asarray, blocks.values()), strict=True)
    ]
    expected = 1e-3 * np.array(norms) / np.sqrt(8 + 2)
    ratios = np.asarray(state.trust_ratio)
    np.testing.assert_allclose(ratios[:3], expected, rtol=1e-6)
    np.testing.assert_allclose(ratios[3:6], expected, rtol=1e-6)


@pytest.mark.parametrize("axes", [0, {"a": 0, "b": None}])
def test_group_of_leaves_that_are_stacked_differently_is_refused(axes):
    params = {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 2))}
    tx = scale_by_lars(stacked_axes=axes, layer_groups={"a": "one", "b": "one"})
    with pytest.raises(ValueError, match="'one'"):
        tx.update(params, tx.init(params), params)


def test_excluded_leaf_is_in_no_group():
    params, gradients = kernel_and_bias()
    tx = scale_by_lars(
        0.1, trust_ratio_mask=exclude_vectors(), layer_groups=group_by_module
    )
    updates, _ = tx.update(gradients, tx.init(params), params)
    np.testing.assert_array_equal(updates["fc"]["bias"], gradients["fc"]["bias"])
    # The kernel alone: 0.1 * 3 / 0.6.
    np.testing.assert_allclose(updates["fc"]["kernel"], [[0.0, 0.3]], rtol=1e-6)


def test_leaf_without_gradient_is_in_no_group():
    params, gradients = kernel_and_bias()
    gradients["fc"]["bias"] = None
    tx = scale_by_lars(0.1, layer_groups=group_by_module)
    updates, _ = tx.update(gradients, tx.init(params), params)
    assert updates["fc"]["bias"] is None
    np.testing.assert_allclose(updates["fc"]["kernel"], [[0.0, 0.3]], rtol=1e-6)


def test_group_of_a_zero_leaf_is_measured_as_a_whole():
    # A bias of zeros no longer takes the whole rate: 0.1 * 3 / 1.
    params = {"fc": {"kernel": jnp.array([[3.0]]), "bias": jnp.zeros(1)}}
    gradients = {"fc": {"kernel": jnp.array([[0.6]]), "bias": jnp.array([0.8])}}
    tx = scale_by_lars(0.1, layer_groups=group_by_module)
    updates, _ = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(updates["fc"]["bias"], [0.24], rtol=1e-6)


def test_leaves_of_different_dtype_may_share_a_ratio():
    params = {"a": jnp.array([3.0], jnp.bfloat16), "b": jnp.array([4.0])}
    gradients = {"a": jnp.array([0.0], jnp.bfloat16), "b": jnp.array([1.0])}
    tx = scale_by_lars(0.1, layer_groups={"a": "one", "b": "one"})
    updates, state = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(state.trust_ratio, [0.5, 0.5], rtol=1e-6)
    assert updates["a"].dtype == jnp.bfloat16
