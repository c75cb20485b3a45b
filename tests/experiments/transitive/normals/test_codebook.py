"""Codewords against brute force, triangles of known solids, and rules of decoding."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive.normals.codebook import encode, fit_codebook, triangles
from experiments.transitive.normals.decode import decode
from lars_jax.errors import InputError

RULES = ("hard", "soft", "triangle")
CLOSE = np.array([[0, 0, 0], [0, 1e-9, 0]])
AXES = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)


def unit_rows(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def some_normals(count, seed=0):
    """Normals that face the camera, or nearly: z < 0.2."""
    rows = unit_rows(np.random.default_rng(seed).normal(size=(3 * count, 3)))
    return rows[rows[:, 2] < 0.2][:count]


@cache
def words():
    return fit_codebook(some_normals(4000), 40, seed=0)


@cache
def corners():
    return triangles(words())


@cache
def logits():
    random = np.random.default_rng(1)
    return random.normal(size=(5, 7, 40)).astype(np.float32) * 2


def decoded(scores, rule, codebook=None, faces=None):
    codebook = words() if codebook is None else codebook
    faces = corners() if faces is None else faces
    return np.asarray(decode(jnp.asarray(scores), codebook, rule=rule, corners=faces))


def test_codewords_are_sorted_unit_rows_and_the_same_for_the_same_seed():
    found = words()
    assert found.shape == (40, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert (np.diff(found[:, 1]) >= 0).all()
    again = fit_codebook(some_normals(4000), 40, seed=0)
    assert (again == found).all()
    assert (fit_codebook(some_normals(4000), 40, seed=1) != found).any()


def test_each_codeword_is_the_mean_direction_of_its_normals():
    normals = some_normals(4000)
    nearest = encode(normals, words())
    for number in range(40):
        mean = unit_rows(normals[nearest == number].sum(axis=0))
        np.testing.assert_allclose(words()[number], mean, atol=1e-2)


def test_groups_that_are_apart_have_a_codeword_each():
    random = np.random.default_rng(0)
    normals = unit_rows(
        np.repeat(AXES, 50, axis=0) + 0.05 * random.normal(size=(300, 3))
    )
    for seed in range(5):
        found = fit_codebook(normals, 6, seed=seed)
        assert (np.abs(found @ AXES.T).max(axis=0) > 0.99).all()


def test_as_many_codewords_as_normals_are_these_normals():
    normals = some_normals(12)
    found = fit_codebook(np.repeat(normals, 3, axis=0), 12, seed=0)
    np.testing.assert_allclose(found[np.argsort(found[:, 1])].sum(), normals.sum())
    assert sorted(encode(normals, found)) == list(range(12))


def test_a_codeword_is_encoded_as_itself():
    assert (encode(words(), words()) == np.arange(40)).all()


def test_encoding_is_the_nearest_of_all():
    normals = some_normals(300).reshape(10, 30, 3)
    expected = [
        [np.argmin([np.sum((n - c) ** 2) for c in words().astype(float)]) for n in row]
        for row in normals
    ]
    found = encode(normals, words())
    assert found.dtype == np.int32
    assert (found == expected).all()


def test_triangles_of_an_octahedron_and_a_half():
    assert triangles(AXES).tolist() == [
        *([0, 1, 2], [0, 1, 5], [0, 2, 4], [0, 4, 5]),
        *([1, 2, 3], [1, 3, 5], [2, 3, 4], [3, 4, 5]),
    ]
    # Without what faces away from the camera, the square that closes it is left out.
    front = AXES[[0, 1, 3, 4, 5]]
    assert triangles(front).tolist() == [[0, 1, 4], [0, 3, 4], [1, 2, 4], [2, 3, 4]]


def test_triangles_cover_what_is_seen_without_overlap_and_have_empty_circles():
    found = corners()
    assert set(found.ravel()) == set(range(40))
    points = words().astype(float)
    normals = some_normals(500, seed=3)
    normals = normals[normals[:, 2] < -0.2]
    # A direction is within a triangle where it is a positive sum of its corners.
    weights = np.stack(
        [np.linalg.solve(points[row].T, normals.T).T for row in found], axis=1
    )
    assert ((weights > 1e-9).all(axis=-1).sum(axis=1) == 1).all()
    for row in found:
        axis = np.cross(*(points[row[1:]] - points[row[0]]))
        axis *= np.sign(axis @ points[row[0]])
        assert (points @ axis <= points[row[0]] @ axis + 1e-6).all()


@pytest.mark.parametrize("rule", RULES)
def test_one_hot_scores_are_decoded_to_their_codeword(rule):
    scores = 200.0 * np.eye(40, dtype=np.float32)
    np.testing.assert_allclose(decoded(scores, rule), words(), atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_decoding_is_as_in_float64(rule):
    found = decoded(logits(), rule)
    points = words().astype(float)
    for place in np.ndindex(5, 7):
        p = np.exp(logits()[place].astype(float))
        p /= p.sum()
        if rule == "hard":
            expected = points[p.argmax()]
        elif rule == "soft":
            expected = p @ points
        else:
            row = max(corners().tolist(), key=lambda row: p[row].sum())
            expected = p[row] @ points[row]
        np.testing.assert_allclose(found[place], unit_rows(expected), atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(-50, 50))
def test_decoding_does_not_see_a_shift_of_all_scores(seed, shift):
    scores = np.random.default_rng(seed).normal(size=(4, 40)).astype(np.float32)
    for rule in RULES:
        found = decoded(scores, rule)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
        moved = decoded(scores + np.float32(shift), rule)
        if rule == "soft":  # The others choose, and may choose anew at a tie.
            np.testing.assert_allclose(moved, found, atol=1e-4)


def test_a_triangle_is_chosen_by_the_sum_of_its_three():
    """The likeliest codeword may be no corner of the triangle that is chosen."""
    share = np.array([0.0, 0.24, 0.0, 0.26, 0.25, 0.25])
    scores = np.log(share + 1e-9).astype(np.float32)
    found = decoded(scores, "triangle", AXES, triangles(AXES))
    np.testing.assert_allclose(found, unit_rows(-share[3:]), atol=1e-6)


def test_codewords_that_cancel_give_the_likeliest():
    scores = np.zeros(6, np.float32)
    assert decoded(scores, "soft", AXES, triangles(AXES)).tolist() == [1, 0, 0]


def test_gradients_of_soft_decoding_are_finite():
    def loss(scores):
        return decode(scores, jnp.asarray(AXES), rule="soft").sum()

    for scores in (jnp.zeros(6), jnp.arange(6.0)):
        assert jnp.isfinite(jax.grad(loss)(scores)).all()


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: fit_codebook(np.ones((9, 3)), 2, seed=0), "made of unit normals"),
        (lambda: fit_codebook(np.eye(3), 4, seed=0), "3 normals for 4"),
        (lambda: fit_codebook(np.eye(3)[[0] * 9], 2, seed=0), "different normals"),
        # Different numbers, and by their cosine one direction.
        (lambda: fit_codebook(np.eye(3)[[0, 0]] + CLOSE, 2, seed=0), "got 2:"),
        (lambda: encode(np.eye(3), np.ones((2, 3))), "a codebook has unit rows"),
        (lambda: encode(np.eye(2), np.eye(3)), "normals have 3 values"),
        (lambda: triangles(np.eye(3)), "4 codewords that are on no plane"),
        (lambda: triangles(np.eye(3)[[0, 1, 2, 2]]), "4 codewords"),
        (lambda: decoded(np.zeros(5), "soft"), r"got \[5\] for 40"),
        (lambda: decoded(np.zeros(40), "softly"), "one of hard, soft, triangle"),
        (lambda: decode(jnp.zeros(3), jnp.eye(3)), "needs triangles"),
        (lambda: decode(jnp.zeros(3), jnp.eye(2)), r"a codebook is \[K, 3\]"),
    ],
)
def test_what_is_none_is_refused_in_one_line(call, rule):
    with pytest.raises(InputError, match=rule) as caught:
        call()
    assert "\n" not in str(caught.value)
