"""A network of normals from end to end, on frames whose depth is known."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from experiments.transitive.normals.check import check
from experiments.transitive.normals.experiment import main
from experiments.transitive.normals.presets import PRESETS
from experiments.transitive.normals.targets import load_targets, shrink
from lars_jax.errors import InputError
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_rows
from tests.experiments.transitive.normals.support import write_frames
from tests.experiments.transitive.support import members

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return an archive of twelve frames, four of them to test on."""
    return write_frames(tmp_path_factory.mktemp("nyu") / "frames.npz")


@pytest.fixture
def words(archive, tmp_path_factory, monkeypatch):
    """Return a command that trains a tiny network on it."""
    # One cache for all tests: the normals of a frame take a while.
    monkeypatch.setenv("LARS_JAX_CACHE", str(archive.parent / "cache"))
    return [
        *("train", "small", "--frames", str(archive), "--devices", "1"),
        *("--height", "60", "--length", "80", "--network", "small"),
        *("--width", "0.125", "--units", "64", "--border", "24", "--codewords", "6"),
        *("--global-batch", "4", "--warmup-steps", "0", "--learning-rate", "0.003"),
        # Of a floor and a wall: triangles need more.
        *("--decoding", "soft"),
    ]


def test_network_learns_to_tell_the_floor_from_the_wall(words, tmp_path, capsys):
    run = tmp_path / "run"
    own = [*words, "--steps", "60", "--eval-every", "30", "--run-dir", str(run)]
    assert main(own) == 0
    rows = list(read_rows(run / "metrics.jsonl"))
    found = [row for row in rows if "eval/mean" in row]
    assert [row["step"] for row in found][-2:] == [30, 60]
    first = rows[0]
    assert found[-1]["eval/mean"] < 0.5 * first["baseline/mean_normal/mean"]
    drawn = np.asarray(Image.open(run / "normals.png"))
    assert drawn.shape == (4 * 60, 3 * 80, 3)
    page = (run / "report.html").read_text()
    for row, prefix in ((found[-1], "eval"), (first, "baseline/mean_normal")):
        mean, median = row[f"{prefix}/mean"], row[f"{prefix}/median"]
        assert f"mean {mean:.1f}, median {median:.1f} degrees" in page
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    assert "median" in capsys.readouterr().out
    own = [str(run), str(run / "normals.png")]
    assert main(["tell", *own, "--out", str(tmp_path / "told")]) == 0
    told = np.asarray(Image.open(tmp_path / "told" / "normals.png"))
    assert told.shape == (60, 160, 3)
    assert main(["tell", *own, own[1]]) == 2
    assert "got normals: name or rename" in capsys.readouterr().err
    assert main(["tell", str(run), str(tmp_path / "none.png")]) == 2
    assert "none.png could not be read" in capsys.readouterr().err


def test_run_keeps_its_codebook_and_refuses_frames_that_are_added(
    words, archive, tmp_path, capsys
):
    folder, run = tmp_path / "nyu", tmp_path / "run"
    folder.mkdir()
    shutil.copy(archive, folder / archive.name)
    own = [*words, "--frames", str(folder), "--steps", "2", "--run-dir", str(run)]
    assert main(own) == 0

    def told(name):
        out = tmp_path / name
        assert (
            main(["tell", str(run), str(run / "normals.png"), "--out", str(out)]) == 0
        )
        return (out / "normals.png").read_bytes()

    before = told("before")
    with np.load(archive) as found:
        others = dict(found) | {"index": found["index"] + 100}
    np.savez(folder / "more.npz", **others)
    weights = str(tmp_path / "weights.npz")
    for verb in (["eval", str(run)], ["export", str(run), weights], [*own, "--resume"]):
        capsys.readouterr()
        assert main(verb) == 2
        assert "frames: more.npz is new" in capsys.readouterr().err
    # What a picture shows hangs on no frames, nor need they be there.
    shutil.rmtree(folder)
    assert told("after") == before


def test_targets_are_the_same_from_the_cache(archive, words):
    data = replace_fields(PRESETS["small"].config, frames=str(archive)).data
    (_, made), (_, kept) = load_targets(data), load_targets(data)
    assert made.image.shape == (4, 120, 160, 3)
    for name in ("image", "normals", "valid"):
        np.testing.assert_array_equal(getattr(made, name), getattr(kept, name))
    assert made.valid.mean() > 0.6
    length = np.linalg.norm(made.normals[made.valid].astype(np.float32), axis=-1)
    np.testing.assert_allclose(length, 1.0, atol=2e-3)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_damaged_file_of_the_cache_is_made_anew(tmp_path, monkeypatch, content):
    monkeypatch.setenv("LARS_JAX_CACHE", str(tmp_path))
    frames = write_frames(tmp_path / "frames.npz", count=3)
    data = replace_fields(PRESETS["small"].config, frames=str(frames)).data
    made = load_targets(data)[1]
    for path in tmp_path.glob("normals/*.npz"):
        # None: a flipped byte in the middle of an array.
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(bytes(whole) if content is None else content)
    again = load_targets(data)[1]
    np.testing.assert_array_equal(made.normals, again.normals)
    assert all(path.stat().st_size > 1000 for path in tmp_path.glob("normals/*.npz"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one process is enough")
def test_signal_ends_the_processes_that_make_normals(tmp_path):
    frames = write_frames(tmp_path / "frames.npz", count=90)
    words = [sys.executable, "-m", "experiments.transitive.normals", "train", "small"]
    words += ["--frames", str(frames), "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen(
        words,
        env=os.environ | {"LARS_JAX_CACHE": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    # It, those that make the normals, and one at least that looks after these.
    while len(members(process.pid)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(members(process.pid)) >= 4
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 20
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not members(process.pid)


def test_smaller_pixel_has_the_mean_direction_where_half_of_it_is_known():
    normals = np.zeros((2, 4, 3), np.float32)
    normals[:, :2] = [0, 0, -1]
    normals[:, 2:] = [0, -1, 0]
    valid = np.array([[True, True, True, False], [False, True, False, False]])
    found, known = shrink(normals, valid, (1, 2))
    assert known.tolist() == [[True, False]]
    np.testing.assert_allclose(found[0, 0], [0, 0, -1])


@pytest.mark.parametrize(
    ("flags", "said"),
    {
        "size": (["--height", "70"], "height must be a whole part"),
        "split": (["--test-split", "all"], "a split is one of train"),
        "frames": (["--frames", "/nowhere.npz"], "/nowhere.npz"),
        "no frames": (["--frames", "/"], "holds .npz archives; / has none"),
        "border": (["--border", "8"], "border must let fc6"),
        "codewords": (
            ["--codewords", "3", "--decoding", "triangle"],
            "--codewords, or choose",
        ),
        "devices": (["--global-batch", "3", "--devices", "2"], "divide evenly over"),
        "width": (["--width", "2"], "width must be"),
        "one plane": (["--decoding", "triangle"], "triangles need 4 codewords that"),
        "no splits": (["--frames", "/nowhere.mat"], "set --splits"),
        "splits": (["--splits", "/nowhere.mat"], "leave --splits out"),
        "weights": (["--init-from", "/nowhere.npz"], "/nowhere.npz"),
    }.values(),
)
def test_what_cannot_run_is_one_line(words, tmp_path, capsys, flags, said):
    status = main([*words, *flags, "--steps", "2", "--run-dir", str(tmp_path / "run")])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert said in lines[-1]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_run(name):
    assert check(PRESETS[name].config) == PRESETS[name].config


def test_check_names_what_is_out_of_range():
    with pytest.raises(InputError, match="dropout must be"):
        check(replace_fields(PRESETS["small"].config, dropout=1.0))
