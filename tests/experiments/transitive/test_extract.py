import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from experiments.transitive.beam import Runner
from experiments.transitive.extract import mine_videos, read_mined, track_videos
from experiments.transitive.mining import KEPT
from experiments.transitive.pool import run_jobs
from experiments.transitive.records import counts, passed_over, read_records
from experiments.transitive.shards import Crops
from experiments.transitive.video import find_videos
from lars_jax.errors import FileError, InputError
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.record import checksums
from tests.experiments.transitive.support import (
    MINING,
    TRACKING,
    members,
    scene,
    texture,
    write_video,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with three good videos and some that cannot be used."""
    place = tmp_path_factory.mktemp("videos")
    write_video(place / "a.avi", scene(26)[0])
    write_video(place / "b" / "c.avi", scene(26, start=(20, 70), step=(3, -2))[0])
    write_video(place / "d.avi", scene(16, pan=(1, 2))[0])
    write_video(place / "still.avi", scene(12, pan=(0, 0), step=None)[0])
    write_video(place / "one.avi", scene(1)[0])
    write_video(place / "tiny.avi", [texture(8, 8, 0)])
    cut = write_video(place / "cut.avi", scene(20)[0])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    (place / "empty.mp4").write_bytes(b"")
    (place / "text.mp4").write_text("no video")
    return place


def test_a_folder_that_no_setting_helps_is_told_to_be_another(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="got none of 2 videos") as caught:
        mine_videos(find_videos(tmp_path), MINING, tmp_path / "mine", processes=1)
    line = str(caught.value)
    assert line.startswith("videos must be such as can be read")
    assert line.endswith("name a folder with others")
    assert "--least-moving" not in line


def both(folder, place, processes=1, interrupt=None, runner=None):
    options = {"processes": processes, "interrupt": interrupt}
    options["runner"] = runner or Runner()
    videos = find_videos(folder)
    mined = mine_videos(videos, MINING, place / "mine", **options)
    found = track_videos(
        folder, place / "mine", MINING, TRACKING, place / "track", **options
    )
    return mined, found


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """Return the directory of both stages, made by one process."""
    place = tmp_path_factory.mktemp("done")
    both(folder, place)
    return place


def test_videos_that_cannot_be_used_are_passed_over_by_reason(done):
    assert passed_over(read_records(done / "mine")) == {
        "empty file": ["empty.mp4"],
        "too short to show motion": ["one.avi"],
        "no video stream (sound alone, no video at all, or an unknown codec)": [
            "text.mp4"
        ],
        "frames have less than 32 pixels a side": ["tiny.avi"],
    }


def test_video_without_its_end_is_used_and_said_to_be_short(done):
    (cut,) = (r for r in read_records(done / "mine") if r["video"] == "cut.avi")
    assert cut["counts"]["kept"] > 0
    assert cut["note"] == (
        f"it ends after {cut['frames']} frames of the 20 that it announces"
    )


def test_every_box_has_an_outcome(done):
    kept = counts(read_records(done / "mine"))["kept"]
    assert sum(counts(read_records(done / "track")).values()) == kept
    tracks = np.load(done / "track" / "tracks.npy")
    assert len(tracks) == kept
    names = [r["video"] for r in read_records(done / "mine")]
    for row in tracks:
        mined = read_mined(done / "mine", int(row["video"]))
        boxes = mined[mined["outcome"] == KEPT]
        match = boxes[boxes["frame"] == row["frame"]]
        assert (match["x"], match["y"]) == (row["x"], row["y"])
        assert names[row["video"]] not in ("still.avi", "one.avi")


def test_crops_are_read_by_index(done):
    crops = Crops(done / "track")
    assert len(crops) == 2 * counts(read_records(done / "track"))["followed"] > 0
    for number in range(len(crops)):
        image, label = crops[number]
        assert (image.shape, image.dtype, label) == ((32, 32, 3), np.uint8, 0)
    index = crops.index
    np.testing.assert_array_equal(index["track"], np.arange(len(crops)) // 2)
    np.testing.assert_array_equal(index["end"], np.arange(len(crops)) % 2)
    frames = index["frame"].reshape(-1, 2)
    assert set(frames[:, 1] - frames[:, 0]) == {TRACKING.track_frames}
    assert crops.fingerprint().examples == len(crops)


def test_both_ends_of_a_track_show_the_same(done):
    crops = Crops(done / "track")
    for seed in range(0, len(crops), 2):
        pair = [crops[k][0].astype(float).ravel() for k in (seed, seed + 1)]
        assert np.corrcoef(pair)[0, 1] > 0.6


@pytest.mark.slow
def test_number_of_processes_changes_no_byte(folder, done, tmp_path):
    both(folder, tmp_path, processes=2)
    assert checksums(tmp_path) == checksums(done)


def test_what_is_whole_is_not_made_again(folder, done, tmp_path, monkeypatch):
    both(folder, tmp_path)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("shards/*.jpegs")}
    damaged = sorted(times)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (damaged.parent / ".left.tmp.jpegs").write_bytes(b"begun by one that was killed")
    both(folder, tmp_path)
    assert checksums(tmp_path) == checksums(done)
    changed = {p for p, time in times.items() if p.stat().st_mtime_ns != time}
    assert changed == {damaged}


@pytest.mark.slow
def test_other_settings_make_all_again(folder, done, tmp_path):
    both(folder, tmp_path)
    other = replace(TRACKING, track_frames=5)
    track_videos(
        folder, tmp_path / "mine", MINING, other, tmp_path / "track", processes=1
    )
    assert len(Crops(tmp_path / "track")) > len(Crops(done / "track"))


PROGRAM = """
import sys
from pathlib import Path
from tests.experiments.transitive.test_extract import both
if __name__ == "__main__":
    both(Path(sys.argv[1]), Path(sys.argv[2]), processes=int(sys.argv[3]))
"""


def start(folder, place, processes):
    script = place.parent / "program.py"
    script.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    words = [sys.executable, str(script), str(folder), str(place), str(processes)]
    return subprocess.Popen(
        words, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_work_goes_on_to_the_same_bytes(folder, done, tmp_path):
    place = tmp_path / "out"
    process = start(folder, place, 2)
    deadline = time.monotonic() + 120
    while not list(place.rglob("shards/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(place.rglob("shards/*.json"))
    assert not (place / "track" / "index.npy").exists()
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not members(process.pid)
    both(folder, place)
    assert checksums(place) == checksums(done)


def test_signal_ends_the_work(folder, tmp_path):
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            mine_videos(
                find_videos(folder), MINING, tmp_path, processes=1, interrupt=interrupt
            )
    assert not list(tmp_path.rglob("*.json"))


def sleep_long(job, check):
    for _ in range(6000):
        check()
        time.sleep(0.01)


@pytest.mark.slow
def test_signal_ends_other_processes(tmp_path):
    with Interrupt() as interrupt:
        # Late enough for both to be at work, mostly.
        timer = threading.Timer(2.0, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            run_jobs(
                sleep_long,
                [1, 2, 3],
                processes=2,
                interrupt=interrupt,
                crashed=lambda job: None,
                title="sleep",
            )
        assert time.monotonic() - began < 30


def exit_at_two(job, check):
    if job == 2:
        os._exit(11)
    return 10 * job


@pytest.mark.slow
def test_job_that_ends_its_process_costs_no_other(tmp_path):
    found = run_jobs(
        exit_at_two,
        range(1, 13),
        processes=2,
        interrupt=Interrupt(),
        crashed=lambda job: -job,
        title="exit",
    )
    assert found == [10, -2, *range(30, 130, 10)]


def test_nothing_mined_is_refused_with_what_took_it(tmp_path):
    write_video(tmp_path / "in" / "a.avi", scene(12, pan=(0, 0), step=None)[0])
    (tmp_path / "in" / "b.avi").write_bytes(b"")
    with pytest.raises(
        InputError,
        match=r"none of 2 videos \(3 few moving points, 1 videos: empty file\): lower",
    ):
        mine_videos(find_videos(tmp_path / "in"), MINING, tmp_path, processes=1)


def test_nothing_tracked_is_refused_with_what_took_it(folder, done, tmp_path):
    long = replace(TRACKING, track_frames=300)
    with pytest.raises(InputError, match=r"tracks must be kept; got none .* video end"):
        track_videos(folder, done / "mine", MINING, long, tmp_path, processes=1)


def test_window_larger_than_the_frame_is_refused_at_once(folder, tmp_path):
    wide = replace(MINING, window=121)
    with pytest.raises(InputError, match="got 121 for 120 x 160"):
        mine_videos(find_videos(folder), wide, tmp_path, processes=1)


def write_to_full_disk(job, check):
    raise FileError(job, "written", OSError(28, "No space left on device"))


def test_full_disk_in_another_process_is_an_error_of_one_line():
    with pytest.raises(InputError, match=r"^a.npy could not be written \(No space"):
        run_jobs(
            write_to_full_disk,
            ["a.npy"],
            processes=2,
            interrupt=Interrupt(),
            crashed=lambda job: None,
            title="write",
        )


@pytest.mark.parametrize("name", ["index.npy", "shards/000000.jpegs"])
def test_damaged_artifact_is_refused_with_its_path(folder, tmp_path, name):
    both(folder, tmp_path)
    path = tmp_path / "track" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=name):
        Crops(tmp_path / "track")[1]
