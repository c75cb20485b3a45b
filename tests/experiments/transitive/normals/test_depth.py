"""Planes whose normals are known, with depth stored in steps; jumps, corners, rooms."""

import io
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.normals.camera import KINECT, Camera
from experiments.transitive.normals.depth import (
    lines_of_sight,
    plane_normals,
    surface_normals,
)
from experiments.transitive.normals.nyu import archives, frame_mask, read_nyu
from experiments.transitive.normals.planes import local_planes
from lars_jax.errors import InputError
from tests.experiments.transitive.normals.support import (
    SMALL,
    STEP,
    degrees_between,
    in_steps,
    plane_depth,
    unit,
)

PLANES = [
    (unit(0, 0, -1), 3.0),
    (unit(0.3, 0.1, -1), 3.0),
    (unit(-0.7, 0, -0.7), 2.0),
    (unit(0, -1, -1.2), 2.5),
]


@pytest.mark.parametrize(("normal", "distance"), PLANES)
def test_a_plane_has_its_normal_everywhere(normal, distance):
    depth = plane_depth(normal, distance).astype(np.float32)
    found, valid = surface_normals(depth, SMALL)
    assert valid.all()
    assert degrees_between(found, normal).max() < 0.05
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize(("normal", "distance"), PLANES)
def test_steps_of_39_mm_turn_a_plane_by_half_a_degree_at_most(normal, distance):
    found, valid = surface_normals(
        in_steps(plane_depth(normal, distance)), SMALL, step=STEP
    )
    assert valid.mean() > 0.99
    assert degrees_between(found, normal)[valid].mean() < 0.5


def test_small_windows_alone_would_show_the_steps():
    """What this is for: 13x13 fits of the same depth are off by many degrees."""
    normal = unit(0.03, 0, -1)
    depth = in_steps(plane_depth(normal, 2.0))
    inverse = 1 / depth.astype(np.float64)
    small, known = np.full(depth.shape, 1e6), np.ones(depth.shape, bool)
    planes = local_planes(inverse, inverse, small, small, known, (6,))[0]
    plain = degrees_between(plane_normals(planes, SMALL), normal)
    found, valid = surface_normals(depth, SMALL, step=STEP)
    assert np.percentile(plain, 95) > 4
    assert np.percentile(degrees_between(found, normal)[valid], 95) < 2.0


def test_a_kinects_noise_is_averaged():
    random = np.random.default_rng(0)
    normal = unit(0.4, -0.2, -1)
    inverse = 1 / plane_depth(normal, 3.0) + 1.5e-3 * random.normal(size=(120, 160))
    found, valid = surface_normals(in_steps(1 / inverse), SMALL, step=STEP)
    assert valid.mean() > 0.97
    assert degrees_between(found, normal)[valid].mean() < 0.3


@cache
def room():
    """Two walls and a floor that meet in a corner: depth, and which is seen where."""
    normals = [unit(0.5, 0, -0.87), unit(-0.87, 0, -0.5), unit(0, -1, -0.15)]
    depths = [plane_depth(n, d) for n, d in zip(normals, (3.0, 2.0, 1.3), strict=True)]
    depths = np.stack([np.where(depth > 0, depth, 99) for depth in depths])
    return depths.min(axis=0), np.stack(normals)[depths.argmin(axis=0)]


def test_walls_and_floor_of_a_room_are_told_apart():
    depth, normals = room()
    found, valid = surface_normals(in_steps(depth), SMALL, step=STEP)
    error = degrees_between(found, normals)[valid]
    assert valid.mean() > 0.97
    assert np.median(error) < 0.5
    assert np.percentile(error, 85) < 5


def test_a_jump_in_depth_is_not_smoothed_over():
    behind = unit(0.1, 0, -1)
    depth = plane_depth(behind, 4.0)
    normals = np.broadcast_to(behind, (*depth.shape, 3)).copy()
    depth[30:90, 50:110], normals[30:90, 50:110] = 2.0, (0, 0, -1)
    found, valid = surface_normals(in_steps(depth), SMALL, step=STEP)
    error = degrees_between(found, normals)
    assert valid.mean() > 0.98
    assert error[valid].max() < 2


def test_what_has_no_normal_is_not_valid():
    depth = plane_depth(unit(0, 0, -1), 3.0).astype(np.float32)
    depth[:20, :20] = 0
    depth[100:, 100:] = np.nan
    depth[:, 150:] = 9.95
    found, valid = surface_normals(depth, SMALL)
    for part in (valid[:20, :20], valid[100:, 100:], valid[:, 150:]):
        assert not part.any()
    assert valid[30:90, 30:140].all()
    assert (found[~valid] == (0, 0, -1)).all()
    assert degrees_between(found, unit(0, 0, -1))[valid].max() < 0.05
    noise = np.random.default_rng(0).uniform(1, 9, depth.shape).astype(np.float32)
    assert surface_normals(noise, SMALL)[1].mean() < 0.3
    edge = plane_depth(unit(-1, 0, -0.05), 0.3)
    seen = edge > 0
    edge = np.where(seen, edge, 0).astype(np.float32)
    assert surface_normals(edge, SMALL)[1][:, :30].mean() < 0.5


def test_normals_face_the_camera():
    found, valid = surface_normals(in_steps(room()[0]), SMALL, step=STEP)
    cosine = np.einsum("hwc,hwc->hw", found, lines_of_sight(SMALL))
    assert (cosine[valid] < 0).all()


def test_a_mirrored_depth_map_has_mirrored_normals():
    depth = in_steps(room()[0])
    camera = replace(SMALL, cx=SMALL.width - 1 - SMALL.cx)
    found, valid = surface_normals(depth, SMALL, step=STEP)
    mirrored, same = surface_normals(depth[:, ::-1].copy(), camera, step=STEP)
    assert (same[:, ::-1] == valid).mean() > 0.999
    both = same[:, ::-1] & valid
    np.testing.assert_allclose(
        (mirrored[:, ::-1] * (-1, 1, 1))[both], found[both], atol=1e-3
    )


def test_planes_are_least_squares_of_their_windows():
    """One window size that all accept: the mean of fits by NumPy's own solver."""
    random = np.random.default_rng(0)
    inverse = random.uniform(0.2, 0.5, (7, 9))
    known = random.random((7, 9)) < 0.8
    large = np.full((7, 9), 1e6)
    planes, support = local_planes(inverse, inverse, large, large, known, (2,))
    v, u = np.mgrid[:7, :9] - np.array([3.0, 4.0]).reshape(2, 1, 1)

    def fit(row, column):
        part = np.s_[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        some = known[part]
        table = np.stack([u[part], v[part], np.ones(some.shape)], -1)[some]
        return np.linalg.lstsq(table, inverse[part][some], rcond=None)[0]

    fits = np.array([[fit(row, column) for column in range(9)] for row in range(7)])
    np.testing.assert_allclose(planes[:, 3, 4], fits[1:6, 2:7].mean(axis=(0, 1)))
    np.testing.assert_allclose(planes[:, 0, 8], fits[:3, 6:].mean(axis=(0, 1)))
    assert (support == known).all()


@pytest.mark.parametrize(
    ("depth", "options", "rule"),
    [
        (np.ones((4, 5), np.float32), {}, "the size of its camera"),
        (np.ones((120, 160), np.uint8), {}, "is floating"),
        (np.ones((120, 160)), {"step": -1.0}, "steps of at least 0"),
        (np.ones((120, 160)), {"noise": 0.0}, "noise above 0"),
    ],
)
def test_other_depth_is_refused(depth, options, rule):
    with pytest.raises(InputError, match=rule):
        surface_normals(depth, SMALL, **options)


def test_other_cameras_are_refused():
    with pytest.raises(InputError, match="focal lengths and sides above 0"):
        Camera(0.0, 1.0, 0.0, 0.0, 1, 1)


def floors(where):
    """Return what tells the pixels of a frame that are floor, in NYUv2's archives."""
    places = {}
    for path in archives(Path(where)):
        with np.load(path) as found:
            content = dict(found)
        places |= {index: (content, k) for k, index in enumerate(content["index"])}

    def of(index):
        content, place = places[index]
        start, end = content["ends"][2 * place : 2 * place + 2]
        packed = Image.open(io.BytesIO(content["data"][start:end].tobytes()))
        return np.asarray(packed)[..., 1] == content["classes"].tolist().index("floor")

    return of


@pytest.mark.skipif("NYUV2" not in os.environ, reason="NYUV2 names no folder")
def test_floors_of_nyuv2_point_up_and_are_even():
    frames = read_nyu(os.environ["NYUV2"], "train")
    labels = floors(os.environ["NYUV2"])
    mask, spreads = frame_mask(240, 320), []
    for place in range(0, 381, 48):
        frame = frames[place]
        normals, valid = surface_normals(frame.depth, KINECT, step=frames.step)
        assert valid[mask].mean() > 0.9
        floor = normals[valid & mask & labels(frame.index)]
        if len(floor) > 4000:
            middle = np.median(floor, axis=0)
            assert middle[1] < -0.8  # The camera looks down by up to 35 degrees.
            spreads.append(np.median(degrees_between(floor, middle)))
    assert len(spreads) >= 2
    # A floor that shines has no depth but what was filled in.
    assert np.median(spreads) < 3
