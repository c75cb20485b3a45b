"""Frames of videos as photographs, whatever else lies beside them."""

import signal

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.config import Config
from experiments.transitive.sources import make_videos, take_frames
from experiments.transitive.video import read_frames
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import replace_fields
from tests.experiments.transitive.support import scene, write_video

pytest.importorskip("cv2")


@pytest.fixture
def stage(tmp_path):
    """Return a configuration, and the directory of its stage `videos`."""
    folder, found = tmp_path / "folder", tmp_path / "videos"
    write_video(folder / "a.avi", scene(26)[0])
    write_video(folder / "b.avi", scene(7)[0])
    (folder / "text.mp4").write_text("no video")
    cut = write_video(folder / "z.avi", scene(20)[0])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    named = f"folder:{folder}"
    config = replace_fields(Config(), videos=named, frame_stride=5, most_frames=4)
    found.mkdir()
    make_videos(config, {}, found, Interrupt())
    return config, found


def test_some_frames_of_each_video_are_taken(stage, tmp_path):
    config, videos = stage
    take_frames(config, {"videos": videos}, tmp_path, Interrupt())
    found = sorted((tmp_path / "train" / "frame").iterdir())
    taken = {}
    for path in found:
        number, _, frame = path.stem.partition("-")
        taken.setdefault(int(number), []).append(int(frame))
    # Every fifth, four at most; of the cut one what is left; of the text nothing.
    assert taken == {0: [0, 5, 10, 15], 1: [0, 5], 3: [0, 5, *taken[3][2:]]}
    frame = scene(26)[0][5]
    with Image.open(found[1]) as image:
        assert np.abs(np.asarray(image).astype(int) - frame).mean() < 8


def test_a_signal_ends_the_work(stage, tmp_path):
    config, videos = stage
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            take_frames(config, {"videos": videos}, tmp_path, interrupt)


def test_frames_of_a_varying_rate_are_read_one_by_one(tmp_path):
    frames = [np.full((64, 64, 3), 20 * k, np.uint8) for k in range(6)]
    first, *rest = map(Image.fromarray, frames)
    path = tmp_path / "varying.gif"
    durations = [40, 400, 80, 1000, 40, 200]
    first.save(path, save_all=True, append_images=rest, duration=durations)
    means = [frame.mean() for frame in read_frames(path)]
    np.testing.assert_allclose(means, [20 * k for k in range(6)], atol=3)
