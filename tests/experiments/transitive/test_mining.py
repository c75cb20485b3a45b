from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.transitive import mining
from experiments.transitive.mining import (
    CUT,
    KEPT,
    MOVING,
    OUTCOMES,
    PLAIN,
    STILL,
    Motion,
    best_window,
    mine_frames,
    mine_pair,
    mine_video,
)
from lars_jax.errors import InputError
from tests.experiments.transitive.support import MINING, SIDE, scene, write_video


def outcomes(frames, config=MINING):
    rows, _ = mine_frames(frames, config)
    return [OUTCOMES[k] for k in rows["outcome"]]


def test_box_is_where_the_object_is_though_the_camera_moves():
    frames, places = scene(16)
    rows, count = mine_frames(frames, MINING)
    assert count == 16
    assert rows["frame"].tolist() == [0, 5, 10]
    assert rows["outcome"].tolist() == [KEPT] * 3
    for row in rows:
        left, top = places[row["frame"]]
        assert abs(row["x"] - left) <= SIDE // 4
        assert abs(row["y"] - top) <= SIDE // 4


def test_still_clip_is_rejected():
    assert set(outcomes(scene(11, pan=(0, 0), step=None)[0])) == {OUTCOMES[STILL]}


def test_clip_in_which_the_camera_alone_moves_is_rejected():
    assert set(outcomes(scene(11, pan=(3, 2), step=None)[0])) == {OUTCOMES[STILL]}


def test_motion_that_no_homography_explains_is_rejected():
    rng = np.random.default_rng(0)
    frames, _ = scene(2, step=None)
    frame = frames[0]
    y, x = np.mgrid[:120, :160]
    wave = rng.uniform(4, 6) * np.sin(y / 5) + 5 * np.sin(x / 4)
    other = frame[y, np.clip(x + wave.astype(int), 0, 159)]
    assert outcomes([frame, other]) == [OUTCOMES[MOVING]]


def test_plain_frame_is_rejected():
    plain = [np.full((120, 160, 3), 90, np.uint8)] * 2
    assert outcomes(plain) == [OUTCOMES[PLAIN]]


def test_frame_before_a_cut_is_rejected():
    frames, _ = scene(12, cut=6)
    rows, _ = mine_frames(frames, MINING)
    assert rows["outcome"].tolist() == [KEPT, CUT, KEPT]
    assert rows["overlap"][1] < MINING.cut < rows["overlap"][0]


def test_share_of_moving_points_is_held_against_its_limits():
    frames, _ = scene(2)
    (row,), _ = mine_frames(frames, MINING)
    share = row["moving"] / row["points"]
    assert 0.25 < share < 0.75
    above, below = share + 0.01, share - 0.01
    assert outcomes(frames, replace(MINING, least_moving=above)) == [OUTCOMES[STILL]]
    assert outcomes(frames, replace(MINING, most_moving=below)) == [OUTCOMES[MOVING]]


def test_search_ends_with_the_last_box_that_is_wanted():
    rows, count = mine_frames(scene(16)[0], replace(MINING, tracks=2))
    assert (len(rows), count) == (2, 7)


def test_without_frames_there_are_no_rows():
    rows, count = mine_frames([], MINING)
    assert (len(rows), count) == (0, 0)


def test_video_file_gives_what_its_frames_give(tmp_path):
    frames, _ = scene(11)
    rows, count = mine_video(write_video(tmp_path / "a.avi", frames), MINING)
    expected, _ = mine_frames(frames, MINING)
    assert count == 11
    assert np.abs(rows["x"] - expected["x"]).max() <= 4  # JPEG is not exact.
    assert np.abs(rows["y"] - expected["y"]).max() <= 4


def brute_force(points, height, width, window):
    best, place = -1, (0, 0)
    for top in range(height - window + 1):
        for left in range(width - window + 1):
            count = sum(
                0 <= int(x) - left < window and 0 <= int(y) - top < window
                for x, y in points
            )
            if count > best:
                best, place = count, (left, top)
    return place


PLACES = st.tuples(st.floats(0, 14.99), st.floats(0, 9.99))


@settings(max_examples=100, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=9), st.integers(1, 10))
def test_window_is_that_of_brute_force(points, window):
    expected = brute_force(points, 10, 15, window)
    assert best_window(np.array(points), 10, 15, window) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=9), st.integers(1, 10))
def test_middle_window_holds_as_many_points_as_the_first(points, window):
    def held(place):
        return sum(
            0 <= int(x) - place[0] < window and 0 <= int(y) - place[1] < window
            for x, y in points
        )

    array = np.array(points)
    middle = best_window(array, 10, 15, window, "middle")
    assert held(middle) == held(best_window(array, 10, 15, window))


def test_object_smaller_than_the_window_is_in_the_middle_of_it():
    points = np.array([[40, 50], [60, 50], [50, 45], [50, 55]])
    assert best_window(points, 100, 100, 41, "middle") == (30, 30)
    assert best_window(points, 100, 100, 41) == (20, 15)


def test_window_larger_than_the_frame_is_refused():
    with pytest.raises(InputError, match="got 11 for 10 x 20: set --window"):
        best_window(np.array([[1, 1]]), 10, 20, 11)


def test_a_frame_may_have_several_boxes_apart(monkeypatch):
    near = np.array([[30, 30]] * 8) + np.arange(8)[:, None]
    # Some of these lie 15 pixels on, too near to be another; a few far off; one alone.
    far = np.array([[150, 100]] * 12) + np.arange(12)[:, None] // 3
    points = np.concatenate([near, near[:5] + 15, far, [[180, 20]], near])
    points = points.astype(np.float32)
    motion = Motion(points, np.full(len(points), 9.0, np.float32))
    monkeypatch.setattr(mining, "measure_motion", lambda *frames: motion)
    frame = np.zeros((128, 200, 3), np.uint8)
    limits = {"window": 40, "least_moving": 0.0, "most_moving": 1.0}
    one = mine_pair(7, frame, frame, replace(MINING, **limits))
    assert one["outcome"].tolist() == [KEPT]
    three = mine_pair(7, frame, frame, replace(MINING, **limits, boxes=3))
    assert three["outcome"].tolist() == [KEPT, mining.ANOTHER]
    assert three[0] == one[0]
    assert three["frame"].tolist() == [7, 7]
    x, y = int(three["x"][1]), int(three["y"][1])
    assert x <= 150 < 153 < x + 40
    assert y <= 100 < 103 < y + 40


def test_boxes_of_a_frame_count_as_tracks(monkeypatch):
    points = np.array([[20, 20], [150, 100]], np.float32)
    motion = Motion(np.repeat(points, 12, axis=0), np.full(24, 9.0, np.float32))
    monkeypatch.setattr(mining, "measure_motion", lambda *frames: motion)
    config = replace(MINING, window=40, least_moving=0.0, most_moving=1.0, boxes=2)
    frames = [np.zeros((128, 200, 3), np.uint8)] * 9
    rows, _ = mine_frames(frames, replace(config, tracks=3, stride=1))
    assert rows["frame"].tolist() == [0, 0, 1]
    assert mining.has_box(rows).all()
