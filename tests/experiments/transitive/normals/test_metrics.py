"""Angles near 0 and 180 degrees, pooled errors, and constant predictions."""

import os

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive.normals.baselines import (
    commonest_codeword,
    constant_errors,
    mean_normal,
)
from experiments.transitive.normals.camera import KINECT
from experiments.transitive.normals.depth import surface_normals
from experiments.transitive.normals.metrics import (
    add_errors,
    angular_error,
    no_errors,
    summary,
)
from experiments.transitive.normals.nyu import frame_mask, read_nyu
from lars_jax.errors import InputError
from tests.experiments.transitive.normals.support import degrees_between


def unit_rows(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def turn(degrees):
    angle = np.radians(degrees)
    return np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], axis=-1)


def pooled(degrees):
    degrees = np.asarray(degrees, np.float64)
    return summary(add_errors(no_errors(), degrees, np.ones(degrees.shape, bool)))


def test_angles_are_exact_near_0_and_180():
    degrees = np.array([0, 1e-3, 0.01, 1, 45, 90, 179, 179.99, 179.999, 180])
    start = np.broadcast_to(turn(np.float64(0)), (10, 3))
    found = angular_error(jnp.asarray(start), jnp.asarray(turn(degrees)))
    np.testing.assert_allclose(found, degrees, atol=2e-5)
    # The arc cosine, of float32 numbers, does not see a hundredth of a degree.
    cosine = (start * turn(degrees)).sum(axis=-1).astype(np.float32)
    assert abs(np.degrees(np.arccos(cosine[2])) - 0.01) > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_angles_do_not_change_with_length_order_or_a_joint_rotation(seed):
    random = np.random.default_rng(seed)
    a, b = unit_rows(random.normal(size=(2, 50, 3)))
    expected = degrees_between(a, b)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    for first, second in [
        (a, b),
        (b, a),
        (3 * a, 0.2 * b),
        (a @ rotation, b @ rotation),
    ]:
        found = angular_error(jnp.asarray(first), jnp.asarray(second))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_zero_vector_is_at_no_angle():
    assert angular_error(jnp.zeros(3), jnp.ones(3)) == 0


def test_five_numbers_to_check_with_a_pencil():
    found = pooled([5, 11.25, 20, 22.5, 29.99, 30, 80])
    assert found["mean"] == pytest.approx(198.74 / 7)
    assert found["median"] == pytest.approx(22.5, abs=0.005)
    assert found["below_11.25"] == pytest.approx(100 / 7)
    assert found["below_22.5"] == pytest.approx(300 / 7)
    assert found["below_30"] == pytest.approx(500 / 7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 180, width=32), min_size=1, max_size=40))
def test_five_numbers_are_those_of_numpy(degrees):
    found = pooled(degrees)
    assert found["mean"] == pytest.approx(np.mean(degrees))
    assert found["median"] == pytest.approx(np.median(degrees), abs=0.00501)
    shares = [found[f"below_{limit:g}"] for limit in (11.25, 22.5, 30)]
    expected = [100 * np.mean(np.array(degrees) < limit) for limit in (11.25, 22.5, 30)]
    assert shares == pytest.approx(expected)
    assert shares[0] <= shares[1] <= shares[2]


def test_pixels_of_all_images_are_pooled_and_others_do_not_count():
    random = np.random.default_rng(0)
    degrees = random.uniform(0, 180, (3, 8, 9)).astype(np.float32)
    valid = random.random((3, 8, 9)) < np.array([0.9, 0.5, 0.1]).reshape(3, 1, 1)
    degrees[~valid] = np.nan
    errors = no_errors()
    for image, mask in zip(degrees, valid, strict=True):
        errors = add_errors(errors, image, mask)
    found = summary(errors)
    assert found == pytest.approx(pooled(degrees[valid]))
    assert no_errors().counts.sum() == 0


def test_what_is_no_error_is_refused():
    with pytest.raises(InputError, match="one valid pixel at least"):
        summary(no_errors())
    for value in (np.nan, -1, 181):
        with pytest.raises(InputError, match="angles from 0 to 180"):
            add_errors(no_errors(), np.array([value]), np.array([True]))
    with pytest.raises(InputError, match="a mask of their shape"):
        add_errors(no_errors(), np.zeros(3), np.ones(4, bool))
    with pytest.raises(InputError, match="a mask of their shape"):
        add_errors(no_errors(), np.zeros(3), np.ones(3))


def test_constant_predictions():
    rows = [[0, 0, -1], [0, -1, 0], [0, -1, 0], [0.6, 0, -0.8]]
    normals = np.array(rows, np.float32)
    mean = mean_normal(normals)
    np.testing.assert_allclose(mean, unit_rows(normals.sum(axis=0)), atol=1e-6)
    words = normals[:2]
    assert commonest_codeword(normals, words).tolist() == [0, 0, -1]
    frame = normals.reshape(2, 2, 3), np.array([[True, True], [False, True]])
    found = constant_errors(words[0], [frame, frame])
    assert found["mean"] == pytest.approx((0 + 90 + 36.87) / 3, abs=1e-3)
    assert found["below_11.25"] == pytest.approx(100 / 3)
    with pytest.raises(InputError, match="have a mean direction"):
        mean_normal(np.array([[0, 0, -1], [0, 0, 1]]))


@pytest.mark.skipif("NYUV2" not in os.environ, reason="NYUV2 names no folder")
def test_one_normal_for_all_of_nyuv2_is_off_by_40_to_60_degrees():
    frames = read_nyu(os.environ["NYUV2"], "test")
    mask, some = frame_mask(240, 320), []
    for place in range(0, 654, 218):
        frame = frames[place]
        normals, valid = surface_normals(frame.depth, KINECT, step=frames.step)
        some.append((normals, valid & mask))
    mean = mean_normal(np.concatenate([normals[valid] for normals, valid in some]))
    assert 30 < constant_errors(mean, some)["mean"] < 60
