import numpy as np
import pytest

from experiments.transitive.config import MiningConfig, TrackingConfig, VideoConfig
from experiments.transitive.demo import (
    CATEGORIES,
    CLIPS,
    HEIGHT,
    INSTANCES,
    WIDTH,
    draw_object,
    read_truth,
    render_clips,
    score_crops,
)
from experiments.transitive.extract import mine_videos, track_videos
from experiments.transitive.pictures import mined_sheet, track_sheet
from experiments.transitive.records import counts, read_records
from experiments.transitive.shards import INDEX, Crops
from experiments.transitive.video import find_videos, read_frames
from lars_jax.errors import InputError
from lars_jax.train.record import checksums
from tests.experiments.transitive.support import write_video

VIDEO = VideoConfig(clips=4, clip_frames=25)
DEMO = MiningConfig(frame_height=HEIGHT, frame_width=WIDTH, window=112, stride=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a directory with clips, mined and followed."""
    place = tmp_path_factory.mktemp("demo")
    render_clips(VIDEO, 0, place)
    videos = find_videos(place / CLIPS)
    mine_videos(videos, DEMO, place / "mine", processes=1)
    tracking = TrackingConfig(track_frames=8, crop=48)
    track_videos(
        videos.root, place / "mine", DEMO, tracking, place / "track", processes=1
    )
    return place


def test_same_seed_gives_the_same_files_and_another_others(place, tmp_path):
    video = VideoConfig(clips=2, clip_frames=25)
    render_clips(video, 0, tmp_path / "a")
    render_clips(video, 1, tmp_path / "b")
    first = checksums(place / CLIPS)
    again, other = (checksums(tmp_path / name / CLIPS) for name in "ab")
    assert again == {name: first[name] for name in again}
    assert all(other[name] != first[name] for name in other)


def test_clips_have_the_frames_and_the_truth_that_was_asked_for(place):
    truth = read_truth(place)
    assert truth.boxes.shape == (4, 25, 4)
    assert truth.category.tolist() == [0, 1, 2, 3]
    for path in find_videos(place / CLIPS).files:
        assert [f.shape for f in read_frames(path)] == [(HEIGHT, WIDTH, 3)] * 25


def test_objects_move_turn_and_scale_within_the_frame(place):
    boxes = read_truth(place).boxes
    middle = boxes[..., :2] + boxes[..., 2:] / 2
    speed = np.linalg.norm(np.diff(middle, axis=1), axis=-1)
    assert speed.mean() > 1.5
    assert (boxes[..., :2] >= 0).all()
    assert (boxes[..., 0] + boxes[..., 2] <= WIDTH).all()
    assert (boxes[..., 1] + boxes[..., 3] <= HEIGHT).all()
    assert (np.ptp(boxes[..., 2], axis=1) > 5).all()


def test_every_instance_comes_in_several_clips_of_the_default():
    clips = VideoConfig().clips
    times = clips / (len(CATEGORIES) * INSTANCES)
    assert times >= 2
    assert times == int(times)


def test_instances_of_a_category_differ():
    for category in CATEGORIES:
        drawn = [draw_object(category, k) for k in range(INSTANCES)]
        assert len({d.tobytes() for d in drawn}) == INSTANCES


def test_most_frames_are_kept_and_most_boxes_hold_the_object(place):
    truth, crops = read_truth(place), Crops(place / "track")
    found = counts(read_records(place / "mine"))
    assert found["kept"] >= 0.75 * sum(found.values())
    overlap, _ = score_crops(truth, crops.index, HEIGHT, WIDTH)
    assert len(overlap) >= 8
    assert np.median(overlap[::2]) > 0.5
    assert np.median(overlap[1::2]) > 0.5


def test_score_is_that_of_the_truth_scaled_to_the_frame(place):
    truth = read_truth(place)
    index = np.zeros(1, INDEX)
    index["video"], index["frame"] = 2, 3
    x, y, w, h = truth.boxes[2, 3]
    index["x"], index["y"], index["side"] = 2 * x, 2 * y, 2 * min(w, h)
    overlap, share = score_crops(truth, index, 2 * HEIGHT, 2 * WIDTH)
    assert overlap[0] == pytest.approx(min(w, h) / max(w, h))
    assert share[0] == pytest.approx(min(w, h) / max(w, h))


def test_sheet_of_mined_frames_shows_points_and_boxes(place):
    sheet = mined_sheet(place / CLIPS, place / "mine", DEMO, rows=2, columns=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] == 2 * (HEIGHT + 2) + 2
    assert sheet.shape[1] > 2 * WIDTH
    for colour in ((235, 60, 50), (60, 220, 90)):
        assert (np.abs(sheet.astype(int) - colour).max(-1) < 3).any()


def test_upright_videos_are_mined_beside_wide_ones(place, tmp_path):
    wide = list(read_frames(find_videos(place / CLIPS).files[0]))
    folder = tmp_path / "clips"
    for name, frames in {
        "upright.avi": [np.rot90(frame) for frame in wide],
        "wide.avi": wide,
    }.items():
        write_video(folder / name, frames)
    mine_videos(find_videos(folder), DEMO, tmp_path / "mine", processes=1)
    sheet = mined_sheet(folder, tmp_path / "mine", DEMO, rows=2, columns=1)
    # Both in the place of the larger sides, the rest of it white.
    assert sheet.shape[0] == 2 * (WIDTH + 2) + 2
    upright, other = sheet[2 : 2 + WIDTH, -WIDTH - 2 : -2], sheet[-2 - WIDTH : -2]
    assert (upright[:, HEIGHT:] == 255).all()
    assert upright[:, :HEIGHT].std() > 10
    assert (other[HEIGHT:, -WIDTH - 2 : -2] == 255).all()


def test_sheet_of_tracks_shows_both_ends(place):
    crops = Crops(place / "track")
    sheet = track_sheet(crops, rows=1, columns=1)
    pair = np.hstack([crops[0][0], crops[1][0]])
    assert sheet.shape[0] == 48 + 4
    np.testing.assert_array_equal(sheet[2:50, -98:-2], pair)


def test_sheet_without_tracks_is_refused(place, tmp_path):
    np.save(tmp_path / "index.npy", np.zeros(0, INDEX))
    with pytest.raises(InputError, match="a sheet must have tracks; got none"):
        track_sheet(Crops(tmp_path))


def test_truth_that_is_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"boxes\.npy could not be read"):
        read_truth(tmp_path)
