from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec
from scipy import stats

from experiments.transitive.ranking import (
    Negatives,
    cosine_distance,
    legal_negatives,
    normalised,
    random_negatives,
    ranking_loss,
    swap_ends,
    triplet_loss,
)
from lars_jax.errors import InputError
from lars_jax.train import data_mesh
from tests.cases import mostly_slow


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def distance(a, b):
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def by_hand(features, parents, margin, share, other_parents=True):
    """The loss of every pair, its negatives sorted out one by one, in float64."""
    features = np.asarray(features, np.float64)
    losses = []
    for i, (anchor, positive) in enumerate(features):
        far = sorted(
            distance(anchor, end)
            for j, pair in enumerate(features)
            for end in pair
            if (parents[j] != parents[i] if other_parents else j != i)
        )
        if far:
            far = far[: int(np.ceil(share * len(far)))]
            near = distance(anchor, positive)
            losses.append(np.mean([max(0, near - d + margin) for d in far]))
    return np.mean(losses) if losses else 0.0


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.01])
@pytest.mark.parametrize("other_parents", [True, False])
def test_loss_is_that_of_negatives_sorted_out_one_by_one(share, other_parents):
    features = drawn(9, 2, 5)
    parents = np.array([3, 3, 1, 2, 2, 2, 3, 8, 1], np.int32)
    negatives = "all" if share == 1 else "hardest"
    loss, _ = ranking_loss(
        features,
        jnp.asarray(parents),
        negatives=negatives,
        hardest_share=share,
        other_parents=other_parents,
    )
    expected = by_hand(features, parents, 0.5, share, other_parents)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.slow
def test_hardest_with_a_share_of_one_is_all():
    features, parents = drawn(8, 2, 3), jnp.arange(8) // 2
    whole, _ = ranking_loss(features, parents, negatives="all")
    part, _ = ranking_loss(features, parents, negatives="hardest", hardest_share=1.0)
    np.testing.assert_allclose(part, whole, rtol=1e-6)


def test_loss_by_pencil():
    # Pair 0 at distance 1 - 0.6 = 0.4, its negatives at 1 and 0.2, and the other way.
    features = jnp.array([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [0.8, 0.6]]])
    loss, metrics = ranking_loss(
        features, jnp.array([0, 1]), negatives="all", margin=0.5
    )
    # Pair 1: at distance 0.4, negatives at 1 and 0.2. Of 0.4 - 1 + 0.5 nothing is left.
    np.testing.assert_allclose(loss, (0.7 + 0.7) / 4, rtol=1e-6)
    np.testing.assert_allclose(metrics["active"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(metrics["positive"], 0.4, rtol=1e-6)
    np.testing.assert_allclose(metrics["negative"], 0.6, rtol=1e-6)


def test_random_negative_is_one_of_the_legal_ones():
    features, parents = drawn(6, 2, 4), jnp.array([0, 0, 1, 1, 2, 2])
    loss, _ = ranking_loss(features, parents, key=jax.random.key(3))
    legal = legal_negatives(parents)
    pair, end, found = random_negatives(jax.random.key(3), legal)
    losses = triplet_loss(features[:, 0], features[:, 1], features[pair, end])
    assert bool(found.all())
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)


def test_random_negatives_are_always_legal_and_uniform():
    parents = jnp.array([5, 5, 1, 5, 2, 2, 7, 1], jnp.int32)
    legal = legal_negatives(parents)
    draw = jax.jit(jax.vmap(lambda key: random_negatives(key, legal)))
    pair, end, found = map(np.asarray, draw(jax.random.split(jax.random.key(0), 4000)))
    assert found.all()
    for i in range(8):
        counts = np.zeros((8, 2))
        np.add.at(counts, (pair[:, i], end[:, i]), 1)
        assert not counts[~np.asarray(legal[i])].any()
        # Every legal sample is reached, and as often as the others.
        assert stats.chisquare(counts[np.asarray(legal[i])].ravel()).pvalue > 1e-4


@pytest.mark.parametrize("other_parents", [True, False])
def test_pairs_that_share_an_image_give_each_other_no_negatives(other_parents):
    features, parents = drawn(5, 2, 4), jnp.array([0, 0, 1, 2, 3])
    # The second pair has the positive of the first, the third and fourth its anchor.
    images = jnp.array([[7, 8], [8, 9], [7, 1], [2, 7], [3, 4]])
    legal = legal_negatives(parents, images, other_parents=other_parents)
    assert np.flatnonzero(legal[0]).tolist() == [4]
    assert np.flatnonzero(legal[1]).tolist() == [2, 3, 4]
    loss, metrics = ranking_loss(
        features[jnp.array([0, 4])],
        parents[jnp.array([0, 4])],
        images=jnp.array([[7, 8], [4, 7]]),
        negatives="all",
        other_parents=other_parents,
    )
    assert loss == metrics["legal"] == 0
    draw = jax.vmap(lambda key: random_negatives(key, legal)[0])
    assert (draw(jax.random.split(jax.random.key(0), 50))[:, 0] == 4).all()


def test_ends_are_swapped_in_half_of_the_pairs():
    pairs = jnp.stack([jnp.arange(4000), -jnp.arange(4000)], axis=1)[1:]
    swapped = swap_ends(jax.random.key(0), pairs)
    np.testing.assert_array_equal(swapped.sum(axis=1), 0)
    assert stats.binomtest(int((swapped[:, 0] < 0).sum()), 3999).pvalue > 1e-4


VECTORS = st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.tuples(VECTORS, VECTORS, VECTORS), st.sampled_from([0.0, 0.25, 0.5, 2.0]))
def test_value_lies_between_0_and_2_plus_m_and_is_0_where_the_margin_holds(xs, margin):
    x, near, far = (jnp.array(values, jnp.float32) for values in xs)
    loss = float(triplet_loss(x, near, far, margin=margin))
    argument = float(cosine_distance(x, near) - cosine_distance(x, far)) + margin
    assert 0 <= loss <= 2 + margin + 1e-5
    assert loss == pytest.approx(max(0.0, argument), abs=1e-6)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_loss_is_blind_to_the_length_of_any_feature(seed, scale):
    features, parents = drawn(5, 2, 4, seed=seed), jnp.array([0, 0, 1, 2, 2])
    lengths = jnp.ones((5, 2, 1)).at[seed % 5, seed % 2].set(scale)
    loss = partial(ranking_loss, parents=parents, negatives="hardest")
    expected, _ = loss(features)
    np.testing.assert_allclose(loss(lengths * features)[0], expected, atol=1e-5)


def test_swapping_positive_and_negative_flips_the_sign_of_what_is_hinged():
    x, near, far = drawn(3, 20, 4)
    one, two = (
        triplet_loss(x, near, far, margin=0.0),
        triplet_loss(x, far, near, margin=0.0),
    )
    hinged = cosine_distance(x, near) - cosine_distance(x, far)
    np.testing.assert_allclose(one - two, hinged, atol=1e-6)
    np.testing.assert_array_equal(jnp.minimum(one, two), 0.0)


def closed_form(x, near, far):
    """Section 5's gradients of an active triplet, float64."""

    def unit(v):
        return v / np.linalg.norm(v)

    u, p, n = unit(x), unit(near), unit(far)
    at_near, at_far = u @ p, u @ n
    return (
        -(p - at_near * u) / np.linalg.norm(x) + (n - at_far * u) / np.linalg.norm(x),
        -(u - at_near * p) / np.linalg.norm(near),
        (u - at_far * n) / np.linalg.norm(far),
    )


def test_gradients_are_the_closed_form_finite_differences_and_orthogonal():
    triplet = np.random.default_rng(1).normal(size=(3, 6))
    with jax.enable_x64(True):
        values = [jnp.asarray(v) for v in triplet]
        loss = partial(triplet_loss, margin=2.0)
        assert float(loss(*values)) > 0
        found = jax.grad(loss, argnums=(0, 1, 2))(*values)
        assert found[0].dtype == jnp.float64
        for i, gradient in enumerate(found):
            steps = 1e-6 * np.eye(6)
            ends = [
                [*values[:i], values[i] + sign * step, *values[i + 1 :]]
                for step in steps
                for sign in (1, -1)
            ]
            f = np.array([float(loss(*end)) for end in ends]).reshape(6, 2)
            np.testing.assert_allclose(gradient, (f[:, 0] - f[:, 1]) / 2e-6, atol=1e-8)
            np.testing.assert_allclose(gradient @ values[i], 0.0, atol=1e-14)
        for gradient, expected in zip(found, closed_form(*triplet), strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-12)


EACH = {name: (name,) for name in get_args(Negatives)}


@pytest.mark.parametrize("negatives", mostly_slow(EACH, ["half_hard"]))
def test_gradients_of_a_batch_are_finite_differences(negatives):
    features = np.random.default_rng(2).normal(size=(4, 2, 3))
    with jax.enable_x64(True):
        parents = jnp.array([0, 0, 1, 2])

        @jax.jit
        def loss(x):
            chosen = {"key": jax.random.key(5), "hardest_share": 0.4}
            return ranking_loss(x, parents, negatives=negatives, **chosen)[0]

        gradient = jax.grad(loss)(jnp.asarray(features))
        for place in np.ndindex(features.shape):
            step = np.zeros_like(features)
            step[place] = 1e-6
            ahead, behind = (
                float(loss(jnp.asarray(features + s))) for s in (step, -step)
            )
            found = (ahead - behind) / 2e-6
            np.testing.assert_allclose(gradient[place], found, atol=1e-8)
        along = jnp.sum(gradient * features, axis=-1)
        np.testing.assert_allclose(along, 0.0, atol=1e-14)


def test_half_of_four_negatives_are_the_closest_and_half_are_drawn():
    # The anchor of the first pair points along x, its positive too; other ends lie at
    # distances 0.1, 0.2 ... 0.8 from it, and margin 2 keeps every hinge open.
    far = np.arange(1, 9) / 10
    ends = np.stack([1 - far, np.sqrt(1 - (1 - far) ** 2)], axis=1).reshape(4, 2, 2)
    features = jnp.asarray(np.concatenate([np.ones((1, 2, 2)) * [1, 0], ends]))
    parents, drawn_pairs = jnp.array([0, 1, 1, 1, 1]), set()

    @jax.jit
    def first(key):
        loss, _ = ranking_loss(
            features.astype(jnp.float32),
            parents,
            negatives="half_hard",
            key=key,
            margin=2.0,
        )
        return loss * 5  # The other pairs have the two ends of the first to choose of.

    others = [
        np.mean([2 + distance(*pair) - distance(pair[0], np.array([1.0, 0.0]))])
        for pair in ends
    ]
    for seed in range(60):
        mean = 4 * (float(first(jax.random.key(seed))) - sum(others) - 2.0)
        drawn_pairs.add(round(10 * (mean * -1 if mean < 0 else mean) - 3, 2))
    # The two closest are always there, 0.1 + 0.2; two of the six others are drawn.
    assert drawn_pairs == {a + b for a in range(3, 9) for b in range(3, 9) if a < b}


def test_hinge_of_exactly_zero_has_no_gradient():
    x = jnp.array([1.0, 0.0])
    far = jnp.array([0.0, 1.0])
    # D(x, x) - D(x, far) + 1 = 0, as floats too.
    gradient = jax.grad(partial(triplet_loss, margin=1.0), argnums=2)(x, x, far)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("negatives", get_args(Negatives))
def test_zero_vectors_are_at_distance_1_with_a_finite_gradient(negatives):
    features = drawn(4, 2, 3).at[0].set(0.0).at[1, 0].set(0.0)
    parents = jnp.arange(4)

    def loss(x):
        chosen = {"key": jax.random.key(0), "negatives": negatives, "margin": 2.0}
        return ranking_loss(x, parents, **chosen)[0]

    value, gradient = jax.value_and_grad(loss)(features)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0], 0.0)
    assert float(cosine_distance(features[0, 0], features[3, 0])) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("negatives", get_args(Negatives))
def test_batch_of_one_parent_has_loss_0_and_gradient_0(negatives):
    def loss(x):
        same = jnp.zeros(3, jnp.int32)
        return ranking_loss(x, same, negatives=negatives, key=jax.random.key(0))

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(drawn(3, 2, 4))
    assert value == metrics["legal"] == 0
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.slow
def test_three_towers_are_one_on_the_stacked_batch():
    weights, triplets = drawn(7, 4, seed=1), drawn(3, 6, 7)

    def tower(w, x):
        return jnp.tanh(x @ w)

    def apart(*copies):
        ends = (tower(w, x) for w, x in zip(copies, triplets, strict=True))
        return triplet_loss(*ends, margin=2.0).mean()

    def together(w):
        return triplet_loss(
            *tower(w, triplets.reshape(18, 7)).reshape(3, 6, 4), margin=2.0
        ).mean()

    value, gradients = jax.value_and_grad(apart, argnums=(0, 1, 2))(*[weights] * 3)
    expected, gradient = jax.value_and_grad(together)(weights)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(sum(gradients), gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("negatives", mostly_slow(EACH, ["half_hard"]))
def test_batch_over_eight_devices_has_the_loss_and_gradient_of_one(negatives):
    features, parents = drawn(16, 2, 8), jnp.arange(16) % 5
    weights = drawn(8, 6, seed=1)

    def loss(w, x, parents, key):
        chosen = {"negatives": negatives, "hardest_share": 0.25, "key": key}
        return ranking_loss(x @ w, parents, **chosen)[0]

    step = jax.jit(jax.value_and_grad(loss))
    expected, gradient = step(weights, features, parents, jax.random.key(1))
    split = NamedSharding(data_mesh(8), PartitionSpec("data"))
    whole = NamedSharding(data_mesh(8), PartitionSpec())
    batch = jax.device_put((features, parents), split)
    placed, key = jax.device_put((weights, jax.random.key(1)), whole)
    value, found = step(placed, *batch, key)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-6)


def test_halves_are_compared_in_float32():
    features = drawn(4, 2, 16).astype(jnp.bfloat16)
    loss, _ = ranking_loss(features, jnp.arange(4), negatives="all")
    wide, _ = ranking_loss(features.astype(jnp.float32), jnp.arange(4), negatives="all")
    assert loss.dtype == normalised(features).dtype == jnp.float32
    assert loss == wide


FEATURES = jnp.ones((2, 2, 3))


@pytest.mark.parametrize(
    ("features", "parents", "chosen", "told"),
    [
        (jnp.ones((4, 3)), jnp.arange(4), {}, r"\[pairs, 2, units\]; got \[4, 3\]"),
        (FEATURES, jnp.arange(4), {}, "one parent; got parents .4. for 2 pairs"),
        (
            FEATURES,
            jnp.arange(2),
            {"images": jnp.arange(2)},
            "one image; got images .2. for 2 pairs",
        ),
        (FEATURES, jnp.arange(2), {}, "need a random key; got None"),
        (FEATURES, jnp.arange(2), {"negatives": "easy"}, "got 'easy'"),
        (
            FEATURES,
            jnp.arange(2),
            {"negatives": "all", "hardest_share": 0.0},
            "got 0.0",
        ),
    ],
)
def test_what_cannot_be_ranked_is_refused(features, parents, chosen, told):
    with pytest.raises(InputError, match=told):
        ranking_loss(features, parents, **chosen)
