import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.detection.anchors import anchors, inside
from experiments.transitive.detection.boxes import areas
from lars_jax.errors import InputError

PAPER = {"scales": (128, 256, 512), "ratios": (0.5, 1, 2)}


def test_nine_anchors_of_the_paper_about_the_centre_of_their_position():
    found = anchors(2, 3, **PAPER).reshape(2, 3, 9, 4).astype(np.float64)
    centre = (found[..., :2] + found[..., 2:]) / 2
    for y, x in np.ndindex(2, 3):
        at = [16 * x + 8, 16 * y + 8]
        np.testing.assert_allclose(centre[y, x], np.tile(at, (9, 1)), atol=1e-4)
    width, height = np.moveaxis(found[..., 2:] - found[..., :2], -1, 0)
    ratios, scales = np.repeat([0.5, 1, 2], 3), np.tile([128, 256, 512], 3)
    np.testing.assert_allclose(height[1, 2] / width[1, 2], ratios, rtol=1e-5)
    np.testing.assert_allclose(width[1, 2] * height[1, 2], scales**2, rtol=1e-5)


def test_numbers_by_a_pencil_and_order_by_row_column_ratio_scale():
    found = anchors(2, 1, stride=4, scales=(4, 8), ratios=(0.25, 1))
    expected = [[-2, 1, 6, 3], [-6, 0, 10, 4], [0, 0, 4, 4], [-2, -2, 6, 6]]
    below = np.array(expected) + [0, 4, 0, 4]
    np.testing.assert_array_equal(found, np.concatenate([expected, below]))
    assert found.dtype == np.float32


def test_areas_are_squares_of_scales_for_any_ratio():
    found = anchors(1, 1, scales=(10,), ratios=(0.1, 1 / 3, math.pi, 7))
    np.testing.assert_allclose(areas(jnp.asarray(found)), 100.0, rtol=1e-5)


def test_inside_is_the_definition_for_traced_sizes():
    found = anchors(5, 7, scales=(16, 48), ratios=(0.5, 1, 2))
    within = jax.jit(inside)
    for height, width in ((80, 112), (75, 100)):
        expected = [
            x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
            for x1, y1, x2, y2 in found
        ]
        np.testing.assert_array_equal(within(found, height, width), expected)
        assert 0 < sum(expected) < len(found)


@pytest.mark.parametrize(
    "wrong", [{"scales": ()}, {"ratios": (1.0, 0.0)}, {"stride": 0}]
)
def test_what_makes_no_anchor_is_refused(wrong):
    with pytest.raises(InputError, match="of anchors must be positive; got"):
        anchors(2, 2, **PAPER | wrong)
