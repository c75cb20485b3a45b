import os
import subprocess
import sys
import wave

import numpy as np
import pytest

from experiments.transitive.video import (
    VideoError,
    announced_frames,
    find_videos,
    overlap,
    read_frames,
)
from lars_jax.errors import InputError
from tests.experiments.transitive.support import scene, texture, write_video


def frames_of(path):
    return list(read_frames(path))


def test_frames_written_are_read_back_in_order_red_first(tmp_path):
    frames, _ = scene(5)
    frames[3][:] = (200, 30, 90)
    found = frames_of(write_video(tmp_path / "a.avi", frames))
    assert len(found) == 5
    for frame, expected in zip(found, frames, strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < 12
    np.testing.assert_allclose(found[3].mean((0, 1)), (200, 30, 90), atol=4)


def test_frames_are_resized_whatever_size_they_have(tmp_path):
    odd = [texture(37, 51, k) for k in range(3)]
    path = write_video(tmp_path / "odd.avi", odd)
    assert [f.shape for f in frames_of(path)] == [(37, 51, 3)] * 3
    assert {f.shape for f in read_frames(path, (40, 60))} == {(40, 60, 3)}


@pytest.mark.parametrize(
    ("sides", "expected"),
    [((90, 50), (60, 40)), ((50, 90), (40, 60)), ((64, 64), (40, 60))],
)
def test_upright_video_is_not_squashed_into_a_wide_one(tmp_path, sides, expected):
    path = write_video(tmp_path / "a.avi", [texture(sides[0], sides[1], 0)])
    assert [f.shape[:2] for f in read_frames(path, (40, 60))] == [expected]
    assert [f.shape[:2] for f in read_frames(path, (60, 40))] == [
        expected if sides[0] != sides[1] else (60, 40)
    ]


def test_frames_of_8k_are_read(tmp_path):
    path = write_video(tmp_path / "a.avi", [np.zeros((4320, 7680, 3), np.uint8)])
    assert [f.shape for f in read_frames(path, (90, 160))] == [(90, 160, 3)]


def write_sound(path):
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))


LIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://192.0.2.1/a.ts\n"
SCRIPT = b"ffconcat version 1.0\nfile 'http://192.0.2.1/a.ts'\n"
UNUSABLE = {
    "empty.mp4": (lambda p: p.write_bytes(b""), "empty file"),
    "text.mp4": (lambda p: p.write_text("hello\n" * 999), "no video stream"),
    "list.mp4": (lambda p: p.write_bytes(LIST), "no video stream"),
    "script.mp4": (lambda p: p.write_bytes(SCRIPT), "no video stream"),
    "sound.mp4": (write_sound, "no video stream"),
    "noise.avi": (
        lambda p: p.write_bytes(np.random.default_rng(0).bytes(99_999)),
        "no video stream",
    ),
    "none.avi": (lambda p: write_video(p, [], (64, 64)), "no frame can be decoded"),
    "tiny.avi": (lambda p: write_video(p, [texture(8, 8, 0)] * 2), "less than 32"),
    "vast.avi": (
        lambda p: write_video(p, [np.zeros((9000, 9000, 3), np.uint8)]),
        "more than 67,108,864 pixels",
    ),
    "gone.avi": (lambda p: None, "No such file"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_file_that_cannot_be_used_says_why(tmp_path, name):
    write, why = UNUSABLE[name]
    write(tmp_path / name)
    with pytest.raises(VideoError, match=why):
        frames_of(tmp_path / name)


def test_frames_before_a_missing_end_are_read(tmp_path):
    path = write_video(tmp_path / "a.avi", scene(20)[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert 8 <= len(frames_of(path)) <= 14
    assert announced_frames(path) == 20


def test_frames_before_a_damaged_end_are_read(tmp_path):
    path = write_video(tmp_path / "a.avi", scene(20)[0])
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    data[len(data) // 2 :] = rng.bytes(len(data) - len(data) // 2)
    path.write_bytes(data)
    assert len(frames_of(path)) >= 8


def test_damaged_files_say_nothing_on_the_terminal(tmp_path):
    for name in ("text.mp4", "noise.avi", "none.avi", "list.mp4"):
        UNUSABLE[name][0](tmp_path / name)
    path = write_video(tmp_path / "cut.avi", scene(20)[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 3 :: 97] = bytes(len(data[len(data) // 3 :: 97]))
    path.write_bytes(data)
    program = (
        "import sys, pathlib\n"
        "from experiments.transitive.video import read_frames, VideoError\n"
        f"for path in sorted(pathlib.Path({str(tmp_path)!r}).iterdir()):\n"
        "    try:\n"
        "        list(read_frames(path))\n"
        "    except VideoError:\n"
        "        pass\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (found.stdout, found.stderr) == ("", "")


def test_name_that_looks_like_an_address_is_a_file(tmp_path, monkeypatch):
    write_video(tmp_path / "a.avi", scene(2)[0]).rename(tmp_path / "http:b%02d.avi")
    monkeypatch.chdir(tmp_path)
    assert len(frames_of("http:b%02d.avi")) == 2


def test_videos_are_found_at_any_depth_in_order(tmp_path):
    for name in ("b.AVI", "a/x/c.mp4", "a.webm", "a/b.mkv", ".hidden.mp4", "list.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "broken.mp4").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    found = find_videos(tmp_path)
    assert found.names == ("a/b.mkv", "a/x/c.mp4", "a.webm", "b.AVI")
    assert found.passed_over == {
        ".txt": 1,
        "hidden": 1,
        "link to a folder that it is in": 1,
        "broken link or no file": 2,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="names are of bytes there alone")
def test_name_that_is_no_text_is_passed_over(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with open(os.fsencode(tmp_path) + b"/\xff.mp4", "wb"):
        pass
    found = find_videos(tmp_path)
    assert found.names == ("a.mp4",)
    assert found.passed_over == {"name that is not UTF-8": 1}


def test_videos_are_known_by_their_content(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"one")
    before = find_videos(tmp_path).fingerprint()
    (tmp_path / "a.mp4").write_bytes(b"two")
    assert before.difference(find_videos(tmp_path).fingerprint())


def test_without_opencv_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[video\]'"):
        frames_of(tmp_path / "a.mp4")


def test_folder_without_videos_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match=r"must have some; got none \(.*add some"):
        find_videos(tmp_path)


def test_overlap_is_one_for_equal_and_zero_for_disjoint():
    one = np.array([0.25, 0.75, 0])
    assert overlap(one, one) == 1
    assert overlap(one, np.array([0, 0, 1.0])) == 0
