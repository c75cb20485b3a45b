import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.tracking import (
    CROSSED,
    ENDED,
    FOLLOWED,
    LEFT,
    LOST,
    OUTCOMES,
    Follower,
    crop_jpeg,
    fast_side,
    inside,
    track_frames,
)
from tests.experiments.transitive.support import MINING, SIDE, TRACKING, scene, texture


def outcomes(tracks):
    return [OUTCOMES[k] for k in tracks.rows["outcome"]]


def test_track_follows_the_object():
    frames, places = scene(16)
    tracks = track_frames(frames, [(0, *places[0]), (5, *places[5])], MINING, TRACKING)
    assert outcomes(tracks) == [OUTCOMES[FOLLOWED]] * 2
    assert tracks.rows["end_frame"].tolist() == [10, 15]
    for row in tracks.rows:
        left, top = places[row["end_frame"]]
        assert abs(row["end_x"] - left) <= 3
        assert abs(row["end_y"] - top) <= 3


def test_crops_of_both_ends_show_the_object():
    frames, places = scene(11)
    tracks = track_frames(frames, [(0, *places[0])], MINING, TRACKING)
    thing = Image.fromarray(texture(SIDE, SIDE, 1)).resize((32, 32))
    ((seed, end),) = tracks.crops
    for data in (seed, end):
        crop = np.asarray(Image.open(io.BytesIO(data)), np.float64)
        assert crop.shape == (32, 32, 3)
        match = np.corrcoef(crop.ravel(), np.asarray(thing, np.float64).ravel())
        assert match[0, 1] > 0.8


def test_track_across_a_cut_is_dropped():
    frames, places = scene(11, cut=6)
    tracks = track_frames(frames, [(0, *places[0])], MINING, TRACKING)
    assert outcomes(tracks) == [OUTCOMES[CROSSED]]
    assert tracks.crops == []


def test_track_that_a_cut_precedes_is_kept():
    frames, places = scene(17, cut=6)
    tracks = track_frames(frames, [(6, *places[6])], MINING, TRACKING)
    assert outcomes(tracks) == [OUTCOMES[FOLLOWED]]


def test_track_of_an_object_that_vanishes_is_dropped():
    frames, places = scene(5)
    frames += [texture(120, 160, 99, blur=8)] * 6
    tracks = track_frames(frames, [(0, *places[0])], replace(MINING, cut=0.0), TRACKING)
    assert outcomes(tracks) == [OUTCOMES[LOST]]


def test_track_out_of_the_frame_is_dropped():
    frames, places = scene(11, start=(100, 60), step=(4, 0))
    tracks = track_frames(frames, [(0, *places[0])], MINING, TRACKING)
    assert outcomes(tracks) == [OUTCOMES[LEFT]]


def test_track_beyond_the_last_frame_is_dropped():
    frames, places = scene(9)
    tracks = track_frames(frames, [(0, *places[0])], MINING, TRACKING)
    assert outcomes(tracks) == [OUTCOMES[ENDED]]
    assert tracks.rows["end_frame"].tolist() == [8]


def test_frames_after_the_last_track_are_not_read():
    frames, places = scene(30)
    assert track_frames(frames, [(0, *places[0])], MINING, TRACKING).frames == 11
    assert track_frames(frames, [], MINING, TRACKING).frames == 1


def test_side_of_a_prime_number_of_pixels_is_not_transformed():
    frames, _ = scene(1)
    follower = Follower(frames[0], 30, 40, 47)
    assert (follower.x, follower.y) == (30, 40)
    assert [fast_side(side) for side in (227, 112, 96, 47, 1)] == [225, 108, 96, 45, 1]


@pytest.mark.parametrize(
    ("x", "y", "share"), [(0, 0, 1), (-5, 0, 0.5), (95, 95, 0.25), (200, 0, 0)]
)
def test_share_of_a_box_in_the_frame(x, y, share):
    assert inside(x, y, 10, 100, 100) == share


def test_crop_is_of_the_box_red_first():
    frame = np.zeros((60, 60, 3), np.uint8)
    frame[10:40, 20:50] = (250, 20, 80)
    data = crop_jpeg(frame, 20, 10, 30, TRACKING)
    crop = np.asarray(Image.open(io.BytesIO(data)))
    assert crop.shape == (32, 32, 3)
    np.testing.assert_allclose(crop.mean((0, 1)), (250, 20, 80), atol=3)
