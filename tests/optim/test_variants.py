"""Every published variant against its own float64 oracle, and by pencil."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax.optim import VARIANTS, Variant, lars, lars_mlperf, layer_norms, path_mask
from tests.cases import mostly_slow
from tests.optim.oracle import IMPLEMENTATIONS, Oracle
from tests.optim.variant_cases import (
    CASES,
    RATES,
    Case,
    expected,
    moves,
    run,
    some_gradients,
    some_weights,
    step_errors,
)

LIMITS = {np.float32: 1e-6, np.float64: 1e-10}
each_variant = pytest.mark.parametrize("variant", VARIANTS)
# In float64 every case; in float32 those that its range or its digits could break.
TELLING = ("decay 0.5", "zero steps", "1e-3, decay 0", "by turns, nesterov")
TRIED = {np.float64: tuple(CASES), np.float32: TELLING}


def test_every_variant_has_an_oracle():
    assert set(VARIANTS) == set(IMPLEMENTATIONS)


@pytest.mark.parametrize(
    ("variant", "dtype"),
    mostly_slow(
        {
            f"{variant}-{dtype.__name__}": (variant, dtype)
            for variant in VARIANTS
            for dtype in TRIED
        },
        ["paper-float32", *(f"{variant}-float64" for variant in VARIANTS)],
    ),
)
def test_thirty_steps_are_as_published(variant, dtype):
    for case in TRIED[dtype]:
        found = run(variant, CASES[case], dtype)
        wanted = expected(variant, CASES[case], found)
        errors = step_errors(found.updates, moves(wanted))
        assert max(errors.values()) <= LIMITS[dtype], (case, errors)
        for name, taken in wanted.items():
            assert_known(variant, found, name, taken)


def assert_known(variant, found, name, taken):
    """Compare the telemetry of a leaf, which is float32 in every dtype."""
    weights, gradients, ratios, rates = found.rows[name].T
    norms = [np.linalg.norm(w) for w in found.weights[name]]
    np.testing.assert_allclose(weights, norms, rtol=1e-6)
    measured = np.array([step.measured for step in taken])
    if VARIANTS[variant].denominator == "momentum":
        # The norm of a buffer has the error of the buffer.
        errors = step_errors({name: gradients}, {name: measured})
        assert errors[name] <= 1e-6, errors
    else:
        np.testing.assert_allclose(gradients, measured, rtol=1e-6)
    effective = [step.effective_rate for step in taken]
    np.testing.assert_allclose(rates, effective, rtol=1e-6)
    np.testing.assert_allclose(RATES * ratios, rates, rtol=1e-6)


@pytest.mark.slow
def test_no_two_variants_move_alike():
    # At sizes of 1e-3 the clips take part.
    case = Case(sizes=(1e-3,))
    moved = {name: run(name, case, np.float32).updates for name in VARIANTS}
    for one, other in combinations(VARIANTS, 2):
        apart = step_errors(moved[one], moved[other])
        assert max(apart.values()) > 1e-2, (one, other, apart)


def test_without_decay_and_momentum_all_are_the_paper_s():
    case = Case(weight_decay=0.0, momentum=0.0)
    paper = run("paper", case, np.float64)
    for variant in (name for name, choices in VARIANTS.items() if not choices.clip):
        found = run(variant, case, np.float64)
        # But for the 1e-8 that apex adds to the denominator.
        errors = step_errors(found.updates, paper.updates)
        assert max(errors.values()) <= 1e-7, (variant, errors)


# w = (3, 4) at both steps, beta 1, eta 0.4, momentum 1/2; g = (-3, 0) at rate 1/5 and
# then (0, -4) at rate 1. So g + beta w is (0, 4) and then (3, 0), and
#
#     split      0.4 * 5 / (3 + 5) = 1/4    0.4 * 5 / (4 + 5) = 2/9
#     fused      0.4 * 5 / 4       = 1/2    0.4 * 5 / 3       = 2/3
#     gradient   0.4 * 5 / 3       = 2/3    0.4 * 5 / 4       = 1/2
BY_PENCIL = {
    # v = 1/5 1/4 (0, 4), then v/2 + 2/9 (3, 0)
    "paper": ((0, 1 / 5), (2 / 3, 1 / 10)),
    # v = 1/5 1/2 (0, 4), then v/2 + 2/3 (3, 0)
    "optax": ((0, 2 / 5), (2, 1 / 5)),
    # v = min(1/5, 2/3) (0, 4), then v/2 + min(1, 1/2) (3, 0)
    "larc_clip": ((0, 4 / 5), (3 / 2, 2 / 5)),
    # v = min(5/4, 1) (0, 4), then v/2 + min(2/9, 1) (3, 0)
    "larc_apex_clip": ((0, 4 / 5), (2 / 3, 2)),
    # v = 1/4 (0, 4), then v/2 + 2/9 (3, 0)
    "larc_apex_scale": ((0, 1 / 5), (2 / 3, 1 / 2)),
    # v = (0, 4), then (3, 2), times 1/5 1/4 and 2/9
    "mlperf_scaled": ((0, 1 / 5), (2 / 3, 4 / 9)),
    # v = (-3, 0), then (-3/2, -4), times 1/5 1/4 and 2/9
    "tf_contrib": ((-3 / 20, 0), (-1 / 3, -8 / 9)),
    # v = (0, 4), then (3, 2), times 1/5 0.4 5/4 and 0.4 5/sqrt(13)
    "simclr_popular": ((0, 2 / 5), (6 / 13**0.5, 4 / 13**0.5)),
    # v = 1/2 (0, 4), then v/2 + 2/3 (3, 0)
    "byol": ((0, 2 / 5), (2, 1)),
}


def two_steps(variant):
    rates = jnp.array([0.2, 1.0])
    tx = lars(
        lambda count: rates[count],
        1.0,
        trust_coefficient=0.4,
        momentum=0.5,
        variant=variant,
    )
    w = jnp.array([3.0, 4.0])
    first, state = tx.update(jnp.array([-3.0, 0.0]), tx.init(w), w)
    second, _ = tx.update(jnp.array([0.0, -4.0]), state, w)
    return -first, -second


@each_variant
def test_two_steps_by_pencil(variant):
    for found, wanted in zip(two_steps(variant), BY_PENCIL[variant], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


def test_a_variant_may_be_made_of_choices():
    # The momentum holds neither rate; ||u|| is 4 and then 3.
    first, second = two_steps(Variant(denominator="fused", rates="outside"))
    np.testing.assert_allclose(first, [0, 0.2 * 0.5 * 4], rtol=1e-6)
    np.testing.assert_allclose(second, [2 / 3 * 3, 2 / 3 * 2], rtol=1e-6)


def test_decay_in_the_norm_alone_is_in_a_fused_norm_too():
    # ||g + beta w|| is 4 and then 3; the step is along g.
    first, second = two_steps(Variant(denominator="fused", decay="norm"))
    np.testing.assert_allclose(first, [0.2 * 0.5 * -3, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [-0.15, 2 / 3 * -4], rtol=1e-6)


@pytest.mark.parametrize(
    "rates",
    [
        {"rates": "inside"},
        {"rates": "local_inside"},
        {"rates": "outside"},
        {"rates": "outside", "denominator": "momentum"},
    ],
    ids=str,
)
def test_excluded_leaves_decay_or_not_in_every_form(rates):
    w, g = jnp.array([3.0, 4.0]), jnp.array([-1.0, 0.0])
    for decay_excluded in (False, True):
        variant = Variant(decay_excluded=decay_excluded, **rates)
        tx = lars(0.5, 0.25, trust_ratio_mask=False, variant=variant)
        moved, _ = tx.update(g, tx.init(w), w)
        np.testing.assert_allclose(moved, -0.5 * (g + 0.25 * decay_excluded * w))


@pytest.mark.parametrize(
    ("mask", "undecayed"),
    [
        (None, None),
        (True, ""),
        ({"fc": True}, ""),
        ({"fc": {"kernel": False, "bias": True}}, "kernel"),
        (path_mask("bias$"), "kernel"),
        (lambda params: False, "kernel bias"),
    ],
)
@each_variant
def test_decay_mask_that_is_given_rules_alone(variant, mask, undecayed):
    if undecayed is None:
        undecayed = "bias" if variant in ("mlperf_scaled", "byol") else ""
    weights = {"kernel": np.array([3.0, 4.0]), "bias": np.array([2.0, 1.0])}
    oracle = Oracle(
        variant, weights, beta=0.5, unadapted={"bias"}, undecayed=undecayed.split()
    )
    adapted = {"fc": {"kernel": True, "bias": False}}
    tx = lars(0.1, 0.5, mask, trust_ratio_mask=adapted, variant=variant)
    params = {"fc": jax.tree.map(jnp.float32, weights)}
    gradients = {"kernel": np.array([-1.0, 0.0]), "bias": np.array([0.0, 1.0])}
    state = tx.init(params)
    for _ in range(2):
        found, state = tx.update({"fc": gradients}, state, params)
        params = optax.apply_updates(params, found)
        for name, taken in oracle.step(0.1, gradients).items():
            np.testing.assert_allclose(found["fc"][name], -taken.moved, rtol=1e-5)


def test_rate_of_zero_does_not_bind_a_clip():
    # min(lambda / gamma, 1) is 1 at gamma = 0, as torch has it: the buffer takes all of
    # the gradient. lambda is 0.1 * 5 / 5 at rate 1.
    rates = jnp.array([0.0, 1.0])
    tx = lars(
        lambda count: rates[count],
        trust_coefficient=0.1,
        momentum=0.5,
        variant="larc_apex_clip",
    )
    w = jnp.array([3.0, 4.0])
    first, state = tx.update(jnp.array([5.0, 0.0]), tx.init(w), w)
    second, _ = tx.update(jnp.array([0.0, 5.0]), state, w)
    np.testing.assert_array_equal(first, np.zeros(2))
    np.testing.assert_allclose(second, [-2.5, -0.5], rtol=1e-6)


def test_own_epsilon_of_a_variant_adds_to_that_of_the_call():
    # 0.5 * 5 / (1 + 1.5 + 2.5)
    w, g = jnp.array([3.0, 4.0]), jnp.array([0.0, 1.0])
    tx = lars(1.0, trust_coefficient=0.5, eps=1.5, variant=Variant(eps=2.5))
    moved, _ = tx.update(g, tx.init(w), w)
    np.testing.assert_allclose(moved, [0.0, -0.5], rtol=1e-6)


@pytest.mark.parametrize(("w", "g"), [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize(
    ("choices", "rate", "decay"),
    [
        ({}, 4.0, 0.5),
        ({"clip": True}, 1.0, 0.5),
        ({"zero_norm": "undecayed"}, 4.0, 0.0),
        ({"zero_norm": "undecayed", "clip": True}, 4.0, 0.0),
        ({"zero_norm": "coefficient"}, 4.0 * 0.25, 0.5),
        ({"zero_norm": "coefficient", "clip": True}, 0.25, 0.5),
    ],
)
def test_leaf_without_a_norm(choices, rate, decay, w, g):
    tx = lars(4.0, 0.5, trust_coefficient=0.25, variant=Variant(**choices))
    weights = jnp.array([w])
    moved, state = tx.update(jnp.array([g]), tx.init(weights), weights)
    np.testing.assert_allclose(moved, [-rate * (g + decay * w)], rtol=1e-6)
    np.testing.assert_allclose(layer_norms(state)[0, 3], rate, rtol=1e-6)


def test_mlperf_leaves_all_but_matrices_to_plain_momentum():
    vectors = set(some_weights()) - {"kernel"}
    settings = {"beta": 0.05, "unadapted": vectors, "undecayed": vectors}
    oracle = Oracle("paper", some_weights(), **settings)
    weights, tx = jax.tree.map(jnp.asarray, some_weights()), lars_mlperf(3.0, 0.05)
    state = tx.init(weights)
    for t in range(3):
        gradients = {name: g[t] for name, g in some_gradients((1.0,)).items()}
        updates, state = tx.update(jax.tree.map(jnp.asarray, gradients), state, weights)
        weights = optax.apply_updates(weights, updates)
        for name, taken in oracle.step(3.0, gradients).items():
            size = np.abs(taken.moved).max()
            np.testing.assert_allclose(updates[name], -taken.moved, atol=1e-6 * size)


@pytest.mark.parametrize(
    "choices",
    [
        {"denominator": "sum"},
        {"rates": "out"},
        {"zero_norm": "two"},
        {"decay": "both"},
        {"denominator": "momentum"},
        {"denominator": "momentum", "rates": "local_inside"},
        {"denominator": "momentum", "rates": "outside", "decay": "norm"},
        {
            "denominator": "momentum",
            "rates": "outside",
            "zero_norm": "undecayed",
        },
    ],
)
def test_impossible_choices_are_refused(choices):
    with pytest.raises(ValueError, match="must be one of|got denominator='momentum'"):
        Variant(**choices)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="must be one of.*simclr_popular.*got 'adam'"):
        lars(0.1, variant="adam")
