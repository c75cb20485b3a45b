"""Norms at the edges of float32, in half precision, and around what is not finite."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.optim import VARIANTS, lars, layer_norms, scale_by_lars
from tests.optim.forms import accelerated

ETA = 1e-3
DECADES = [10.0**exponent for exponent in range(-30, 31)]
far = pytest.mark.usefixtures("accelerated")


def directions():
    """Two fixed arrays of norm one, in float64."""
    random = np.random.default_rng(0)
    w, g = random.normal(size=(2, 8, 8))
    return w / np.linalg.norm(w), g / np.linalg.norm(g)


def norm(x):
    wide = np.complex128 if np.iscomplexobj(x) else np.float64
    return np.linalg.norm(np.asarray(x).astype(wide).ravel())


def stepped(tx, w, g):
    return tx.update(g, tx.init(w), w)


def assert_right_at(sizes):
    """Compare norms, ratios and updates with weights and gradients of such norms."""
    tx = scale_by_lars(ETA, 0.1)
    step = jax.jit(tx.update)
    w_of_one, g_of_one = directions()
    pairs = [
        *((x, 1.0) for x in sizes),
        *((1.0, x) for x in sizes),
        *((x, x) for x in sizes),
    ]
    for of_w, of_g in pairs:
        w, g = np.float32(w_of_one * of_w), np.float32(g_of_one * of_g)
        update, state = step(jnp.asarray(g), tx.init(w), jnp.asarray(w))
        ratio = ETA * norm(w) / (norm(g) + 0.1 * norm(w))
        expected = ratio * (np.float64(g) + 0.1 * np.float64(w))
        found = [norms[0] for norms in map(np.asarray, state[1:4])]
        at = f"at {of_w:g}, {of_g:g}"
        wanted = [norm(w), norm(g), ratio]
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=at)
        error = np.abs(np.float64(update) - expected).max()
        assert error <= 1e-6 * np.abs(expected).max(), at


@far
def test_a_norm_of_any_decade_is_right_to_six_digits():
    assert_right_at(DECADES)


def test_a_plain_norm_is_right_from_1e_14_to_1e18():
    assert_right_at([d for d in DECADES if 1e-15 < d < 2e18])


@far
@pytest.mark.parametrize("shape", [(), (1, 1)])
def test_a_leaf_of_one_entry_has_its_norm_at_any_decade(shape):
    sizes = {f"{size:g}": size for size in [0.0, *DECADES[::10]]}
    w = {name: jnp.full(shape, size, jnp.float32) for name, size in sizes.items()}
    tx = scale_by_lars(ETA)
    _, state = jax.jit(tx.update)(w, tx.init(w), w)
    norms, ratios = jax.device_get((state.weight_norm, state.trust_ratio))
    for name, size in sizes.items():
        np.testing.assert_allclose(norms[name], size, rtol=1e-6)
        np.testing.assert_allclose(ratios[name], ETA if size else 1.0)


@far
@pytest.mark.parametrize("variant", ["optax", "simclr_popular"])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_denominators_that_are_norms_of_sums_keep_their_range(variant, size):
    w, g = np.asarray(directions(), np.float32)
    g *= np.float32(size)
    tx = lars(1.0, trust_coefficient=ETA, momentum=None, variant=variant)
    update, _ = stepped(tx, jnp.asarray(w), jnp.asarray(g))
    np.testing.assert_allclose(norm(update), ETA, rtol=1e-6)


FORMS = {"plain": contextlib.nullcontext, "accelerated": accelerated}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
EDGES = [0.0, 1e-38, 1e-19, 1.0, 1e19, 1e38]


@each_form
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_finite_gradient_or_weight_gives_a_step_that_is_not(variant, form):
    # Each a layer of a stacked leaf.
    pairs = np.array([(a, b) for a in EDGES for b in EDGES], np.float32)
    w, g = (jnp.broadcast_to(column[:, None], (36, 10)) for column in pairs.T)
    for beta in (0.0, 0.1):
        # Without momentum, which multiplies a ratio by gradients of other steps.
        tx = lars(0.9, beta, variant=variant, momentum=None, stacked_axes=0)
        with form():
            updates, state = stepped(tx, w, g)
        rows = np.concatenate([updates, np.asarray(state.trust_ratio)[:, None]], axis=1)
        assert np.isfinite(rows).all(), pairs[~np.isfinite(rows).all(axis=1)]


def test_leaf_beyond_the_range_of_a_plain_norm_stands_still_or_is_taken_for_zero():
    one = jnp.ones(4)
    tx = scale_by_lars(ETA, 0.5)
    for w, g, ratio in (
        (one, 1e20 * one, 0.0),
        (1e20 * one, one, 0.0),
        (1e20 * one, 1e20 * one, 0.0),
        (one, 1e-25 * one, 1.0),
        (1e-25 * one, one, 1.0),
    ):
        update, state = stepped(tx, w, g)
        np.testing.assert_array_equal(state.trust_ratio, [ratio])
        np.testing.assert_allclose(update, ratio * (g + 0.5 * w), rtol=1e-6)


def test_plain_norm_that_lost_most_of_its_squares_is_none():
    # The one square that is kept is 1.4e-38 of 8.1e-33 in all.
    g = jnp.full(10**6, 9e-20).at[0].set(1.2e-19)
    _, state = stepped(scale_by_lars(ETA), jnp.ones(10**6), g)
    np.testing.assert_array_equal(state.gradient_norm, [0.0])


@each_form
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_not_finite_stays_in_its_leaf(variant, form):
    huge, nan = jnp.full(3, 1e25), jnp.array([1e25, jnp.nan, 1.0])
    fine, one = jnp.array([1.0, 2.0, 3.0]), jnp.ones(3)
    w = {"good": one, "inf": one, "minus inf": one, "nan": one}
    g = {"good": fine, "inf": fine.at[1].set(jnp.inf), "nan": fine.at[1].set(jnp.nan)}
    g["minus inf"] = -g["inf"]
    # NaN beside what overflows.
    w |= {"nan weights": nan, "nan gradient": huge, "nan both": nan}
    g |= {"nan weights": huge, "nan gradient": nan, "nan both": nan}
    tx = lars(0.5, 0.1, variant=variant)
    with form():
        update, _ = stepped(tx, w, g)
        alone, _ = stepped(tx, one, fine)
    np.testing.assert_array_equal(update.pop("good"), alone)
    for name, leaf in update.items():
        assert not jnp.all(jnp.isfinite(leaf)), name
        assert jnp.all(jnp.isnan(leaf)) or not name.startswith("nan"), name


@far
def test_one_huge_entry_does_not_freeze_its_leaf():
    # The square of 1e20 is no float32.
    w, g = jnp.array([3.0, 4.0, 0.0]), jnp.array([1.0, 1e20, -1.0])
    update, state = stepped(scale_by_lars(ETA), w, g)
    np.testing.assert_allclose(state.gradient_norm, [1e20], rtol=1e-6)
    np.testing.assert_allclose(update, [5e-23, 5e-3, -5e-23], rtol=1e-6)


@each_form
@pytest.mark.parametrize("size", [0.0, 1e-25, 1e25])
def test_leaf_in_range_has_the_same_bits_whatever_the_others_are(size, form):
    # Devices that hold a shard out of range must agree with those that do not.
    random = np.random.default_rng(0)
    w = {"far": jnp.ones(4), "near": jnp.asarray(random.normal(size=9999), jnp.float32)}
    tx = scale_by_lars(ETA, 0.01)
    step = jax.jit(tx.update)
    state = tx.init(w)
    with form():
        _, expected = step({"far": jnp.ones(4), "near": 0.1 * w["near"]}, state, w)
        _, found = step({"far": jnp.full(4, size), "near": 0.1 * w["near"]}, state, w)
    np.testing.assert_array_equal(layer_norms(found)[1], layer_norms(expected)[1])


@far
def test_slices_of_one_leaf_keep_their_own_range():
    g = jnp.array([[3e25, 4e25], [3e-25, 4e-25], [3.0, 4.0], [0.0, 0.0]])
    tx = scale_by_lars(ETA, stacked_axes=0)
    _, state = stepped(tx, jnp.ones((4, 2)), g)
    np.testing.assert_allclose(state.gradient_norm, [5e25, 5e-25, 5, 0], rtol=1e-6)


@far
@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 1, 1)])
def test_slices_of_one_entry_keep_their_own_range(shape):
    # XLA rewrites the square of a scaled scalar so that it overflows.
    g = jnp.array([3e25, -3e-25, -3.0, 0.0]).reshape(shape)
    tx = scale_by_lars(ETA, stacked_axes=0)
    _, state = stepped(tx, jnp.ones(shape), g)
    np.testing.assert_allclose(state.gradient_norm, [3e25, 3e-25, 3, 0], rtol=1e-6)


@far
def test_a_group_joins_norms_that_no_square_could_hold():
    w = {"a": jnp.ones(2), "b": jnp.ones(2)}
    g = {"a": jnp.array([3e25, 0.0]), "b": jnp.array([0.0, 4e25])}
    tx = scale_by_lars(ETA, layer_groups={"a": "one", "b": "one"})
    _, state = stepped(tx, w, g)
    np.testing.assert_allclose(state.trust_ratio, [ETA * 2 / 5e25] * 2, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-4, 300.0])
def test_float16_leaf_whose_squares_are_no_float16(size):
    # ||w|| = 5120 has a square beyond 65504; those of 1e-4 vanish; ||g|| = 76800 itself
    # is beyond.
    w = jnp.full((256, 256), 20.0, jnp.float16)
    g = jnp.full((256, 256), size, jnp.float16)
    update, state = stepped(scale_by_lars(ETA), w, g)
    np.testing.assert_allclose(state.trust_ratio, ETA * norm(w) / norm(g), rtol=1e-6)
    # The step is 1e-3 * 20 in every entry, in units of float16's 2**-11.
    assert update.dtype == jnp.float16
    np.testing.assert_allclose(np.float64(update), 0.02, rtol=2**-11)


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_leaves_are_measured_in_float32(variant):
    random = np.random.default_rng(0)
    wide = random.normal(size=(2, 64, 32)).astype(np.float32)
    dtypes = {"brain": jnp.bfloat16, "half": jnp.float16}
    w, g = ({k: jnp.asarray(x, d) for k, d in dtypes.items()} for x in wide)
    tx = lars(1.0, 0.01, momentum=None, variant=variant)
    _, narrow = stepped(tx, w, g)
    as_float32 = [jax.tree.map(lambda x: x.astype(jnp.float32), t) for t in (w, g)]
    _, expected = stepped(tx, *as_float32)
    rows = layer_norms(narrow)
    assert rows.dtype == jnp.float32
    np.testing.assert_allclose(rows, layer_norms(expected), rtol=1e-6)


def test_float64_leaf_is_measured_in_float64():
    with jax.enable_x64(True):
        w = jnp.asarray(np.linspace(1.0, 2.0, 7))
        g = jnp.asarray(np.linspace(-1.0, 3.0, 7))
        update, _ = stepped(scale_by_lars(ETA), w, g)
        assert update.dtype == jnp.float64
        expected = ETA * norm(w) / norm(g) * np.asarray(g)
        # The coefficient itself may be a float32: 6e-8.
        np.testing.assert_allclose(update, expected, rtol=1e-7)


def test_infinite_entry_stops_its_leaf_and_a_nan_makes_all_of_it_nan():
    # An infinite norm has ratio zero; zero times infinity is NaN.
    g = jnp.array([1.0, jnp.inf, 2.0])
    update, state = stepped(scale_by_lars(ETA), jnp.ones(3), g)
    np.testing.assert_array_equal(update, [0.0, jnp.nan, 0.0])
    np.testing.assert_array_equal(state.gradient_norm, [jnp.inf])
    update, _ = stepped(scale_by_lars(ETA), jnp.ones(3), g.at[1].set(jnp.nan))
    np.testing.assert_array_equal(update, [jnp.nan] * 3)


def test_both_forms_are_the_same_where_squares_fit():
    random = np.random.default_rng(0)
    w = {"kernel": random.normal(size=(64, 32)), "bias": random.normal(size=32)}
    w = {name: jnp.asarray(x, jnp.float32) for name, x in w.items()}
    g = jax.tree.map(lambda x: jnp.sin(3 * x), w)
    tx = lars(0.5, 0.1)
    plain, state = stepped(tx, w, g)
    with accelerated():
        scaled, expected = stepped(tx, w, g)
    for name in w:
        np.testing.assert_allclose(plain[name], scaled[name], rtol=1e-6)
    np.testing.assert_allclose(layer_norms(state), layer_norms(expected), rtol=1e-6)


@pytest.mark.parametrize("jit", [True, False])
def test_four_million_elements_are_summed_to_six_digits(jit):
    random = np.random.default_rng(0)
    w = random.uniform(0.5, 1.5, 2**22).astype(np.float32)
    g = random.normal(size=2**22).astype(np.float32)
    tx = scale_by_lars(ETA)
    step = jax.jit(tx.update) if jit else tx.update
    _, state = step(jnp.asarray(g), tx.init(w), jnp.asarray(w))
    np.testing.assert_allclose(state.weight_norm, [norm(w)], rtol=1e-6)
    np.testing.assert_allclose(state.gradient_norm, [norm(g)], rtol=1e-6)


@far
@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_complex_leaf_is_measured_by_its_magnitudes(size):
    w = jnp.array([3.0 + 4.0j, 0.0], jnp.complex64)
    g = jnp.array([size, 2j * size], jnp.complex64)
    update, state = stepped(scale_by_lars(ETA), w, g)
    np.testing.assert_allclose(state.weight_norm, [5.0], rtol=1e-6)
    np.testing.assert_allclose(state.gradient_norm, [5**0.5 * size], rtol=1e-6)
    assert update.dtype == jnp.complex64
    np.testing.assert_allclose(update, [5**0.5 * ETA, 5**0.5 * 2j * ETA], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_narrow_leaves_take_the_same_step_in_x64_mode(dtype):
    tx = lars(0.5, 0.1)

    def step():
        w = {"k": jnp.ones((2, 3), dtype), "b": jnp.ones(3, dtype)}
        w = dict.fromkeys(("one", "zero", "huge"), w)
        sizes = [jnp.asarray(size, dtype) for size in (1.0, 0.0, 1e25)]
        scaled = zip(w, sizes, strict=True)
        g = {k: {n: x * size for n, x in w[k].items()} for k, size in scaled}
        return jax.jit(tx.update)(g, tx.init(w), w)

    expected = step()
    with jax.enable_x64(True):
        found = step()
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=1e-6)


def test_both_forms_have_the_same_derivatives_and_map_alike():
    w = {"kernel": jnp.array([[3.0, -4.0]] * 2), "a": jnp.ones(3), "b": jnp.zeros(3)}
    g = jax.tree.map(lambda x: jnp.cos(x), w)

    def derivatives(w, g):
        def moved(w, g):
            updates: Any = stepped(scale_by_lars(ETA, 0.1), w, g)[0]
            return sum(jnp.sum(jnp.sin(1e3 * leaf)) for leaf in updates.values())

        twice = jax.tree.map(lambda x: jnp.stack([x, x + x]), (w, g))
        return jax.grad(moved, argnums=(0, 1))(w, g), jax.vmap(moved)(*twice)

    plain = jax.jit(derivatives)(w, g)
    with accelerated():
        scaled = jax.jit(lambda w, g: derivatives(w, g))(w, g)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(scaled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert jnp.any(a != 0)
