"""From raw video to features: whole runs of the pipeline, killed and gone on with."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.transitive.experiment import main
from experiments.transitive.features import load_features
from lars_jax.errors import InputError

pytest.importorskip("cv2")
pytest.importorskip("faiss")

ROOT = Path(__file__).parents[3]
SMALL = ["run", "demo", "--clips", "8", "--clip-frames", "40", "--track-frames", "10"]
SMALL += ["--parents", "2", "--least-members", "4", "--steps", "6"]
SMALL += ["--global-batch", "16", "--width", "0.25", "--devices", "1"]
CONTEXT = ["--features", "context", "--init", "context", "--context-steps", "6"]
CONTEXT += ["--context-batch", "8"]
OUTPUTS = ("videos", "mine", "track", "features", "graph", "triplet", "evaluate")
STAGES = (*OUTPUTS[:3], "frames", "context", *OUTPUTS[3:])


def outputs(directory, stages=OUTPUTS):
    """Return the checksums of what every stage left, as its manifest has them."""
    return {
        stage: json.loads((directory / stage / "manifest.json").read_text())["outputs"]
        for stage in stages
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pipeline") / "run"
    assert main([*SMALL, "--run-dir", str(directory)]) == 0
    return directory


@pytest.mark.slow
def test_every_stage_leaves_what_it_promises(whole):
    page = (whole / "report.html").read_text()
    for word in ("transitive pairs of one category", "followed", "by chance", "Pairs"):
        assert word in page
    counts = json.loads((whole / "graph" / "counts.json").read_text())
    assert min(counts.values()) > 0
    found = json.loads((whole / "evaluate" / "evaluation.json").read_text())
    pairs = found["graph"]["pairs"]
    assert pairs["transitive"]["same"] > found["graph"]["chance"]
    assert pairs["intra"]["same"] == 1.0
    assert {"trained", "trained, head", "untrained", "HOG"} == set(found["photographs"])
    for word in ("frames/s", "tracks/s", "seeds/s", "Retrieval", "Activations"):
        assert word in page
    for name in ("track/tracks", "features/nearest", "graph/clusters"):
        assert (whole / f"{name}.png").stat().st_size > 1000


@pytest.mark.slow
def test_second_run_finds_everything_current(whole, capsys):
    before = outputs(whole)
    assert main([*SMALL, "--run-dir", str(whole)]) == 0
    said = capsys.readouterr().err
    assert [f"{stage}: current" in said for stage in OUTPUTS] == [True] * len(OUTPUTS)
    assert outputs(whole) == before


@pytest.mark.slow
def test_features_are_taken_in_three_lines(whole):
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), np.uint8)
    features = load_features(whole)(images)
    assert features.shape == (3, 2 * 2 * 32)
    assert np.isfinite(features).all()
    again = load_features(str(whole))(images[1:])
    np.testing.assert_allclose(again, features[1:], rtol=1e-5, atol=1e-6)
    assert load_features(whole, "head")(images).shape == (3, 32)
    assert load_features(whole, "conv3_1")(images).shape == (3, 8 * 8 * 24)
    with pytest.raises(InputError, match="uint8"):
        load_features(whole)(images / 255)


def test_features_of_no_pipeline_are_refused(tmp_path):
    with pytest.raises(InputError, match="has none: name one"):
        load_features(tmp_path)


def started(directory):
    """Start the pipeline with all of its stages in a process of its own."""
    words = [sys.executable, "-m", "experiments.transitive", *SMALL, *CONTEXT]
    words += ["--run-dir", str(directory)]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)


def killed_in(stage, directory):
    """Start the pipeline, kill it in a stage, and return whether it was at work."""
    partial, final = directory / f"{stage}.partial", directory / stage
    with started(directory) as process:
        deadline = time.monotonic() + 120
        while not partial.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        if stage in ("mine", "track", "context", "triplet"):
            # Far enough to have something to go on with.
            time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
    if final.exists():
        shutil.rmtree(final)
        return False
    return partial.exists()


@pytest.mark.slow
def test_pipeline_that_was_killed_in_every_stage_ends_with_the_same_files(tmp_path):
    once, often = tmp_path / "once", tmp_path / "often"
    assert started(once).wait() == 0
    for stage in STAGES:
        assert any(killed_in(stage, often) for _ in range(5)), stage
    assert started(often).wait() == 0
    assert outputs(often, STAGES) == outputs(once, STAGES)


@pytest.mark.slow
def test_a_network_is_trained_alone_where_the_rest_is_there(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    words = [*SMALL[1:], "--run-dir", str(run), "--steps", "4"]
    assert main(["train", *words]) == 0
    said = capsys.readouterr().err
    assert "triplet: running" in said
    assert "evaluate: running" not in said
    shutil.rmtree(run / "graph")
    assert main(["train", *words, "--steps", "5"]) == 2
    assert "graph is not current: run --only graph first" in capsys.readouterr().err


@pytest.mark.slow
def test_features_are_of_the_training_whatever_came_later(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    before = load_features(run)(images)
    words = [*SMALL, "--run-dir", str(run), "--only", "graph", "--init", "context"]
    # Refused, it changes nothing; done, what was trained stays what it was.
    record = (run / "config.json").read_bytes()
    assert main([*words, "--clique", "2", "--only", "triplet"]) == 2
    assert (run / "config.json").read_bytes() == record
    assert main([*words, "--clique", "2"]) == 0
    np.testing.assert_array_equal(load_features(run)(images), before)
    page = (run / "report.html").read_text()
    assert "of files that are no more" in page
    assert "triplet loss" not in page
    assert "triplet loss" in (whole / "report.html").read_text()


@pytest.mark.slow
def test_a_report_shows_nothing_beside_settings_that_it_was_not_made_with(
    whole, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    words = [*SMALL, "--run-dir", str(run), "--only", "videos", "--steps", "9"]
    assert main(words) == 0
    page = (run / "report.html").read_text()
    # What is evaluated follows from the network.
    assert page.count("made with other settings: run it again") == 2
    assert "triplet loss" not in page
    assert "transitive pairs of one category" not in page
    assert main([*words, "--steps", "6"]) == 0
    page = (run / "report.html").read_text()
    assert "made with other settings" not in page
    assert "triplet loss, training pairs without variation" in page


@pytest.mark.slow
def test_signal_in_training_is_the_exit_status_of_the_pipeline(whole, tmp_path):
    run = tmp_path / "run"
    words = [sys.executable, "-m", "experiments.transitive", *SMALL]
    words += ["--steps", "5000", "--run-dir", str(run)]
    with subprocess.Popen(
        words, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        metrics = run / "triplet.partial" / "log" / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not metrics.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert process.returncode == 143
    assert "stopped and saved at step" in said
    assert f"the same command with --run-dir {run} goes on" in said
    assert "Traceback" not in said
    assert not (run / "triplet").exists()


BAD = {
    "an image of few pixels": (
        ["--image-size", "8"],
        "image_size must be at least 16, for its pools; got 8",
    ),
    "a patch of few pixels": (
        ["--init", "context", "--network", "vgg16", "--crop", "64", "--patch", "24"],
        "patch must be at least 32, for the pools; got 24",
    ),
    "half a pair of patches": (
        ["--global-batch", "50", "--context-weight", "1"],
        "global_batch is a multiple of 4; got 50",
    ),
    "photographs that are not there": (
        ["--photographs", "folder:nowhere"],
        "nowhere",
    ),
    # name: (flags, what the line says)
    "videos of no kind": (
        ["--videos", "clips"],
        "videos must be demo, folder:PATH or eth80",
    ),
    "no folder": (["--videos", "folder:nowhere"], "videos must lie in a folder"),
    "a URL": (["--videos", "folder:gs://b/a"], "this machine's file systems"),
    "no clips": (["--clips", "0"], "clips must be a whole number above 0"),
    "window": (["--window", "500"], "window must be at most 240, as frames; got 500"),
    "moving": (["--least-moving", "0.8"], "least_moving must be below most_moving"),
    "share": (["--most-moving", "1.5"], "most_moving must be a finite number"),
    "crop": (["--crop", "30"], "crop must be a multiple of 8 from 32 on; got 30"),
    "quality": (["--quality", "101"], "quality must be a whole number"),
    "neighbours": (["--neighbours", "1"], "neighbours must be at least 2, one less"),
    "clique": (["--clique", "9"], "clique must be a whole number"),
    "odd batch": (["--global-batch", "33"], "two of each pair; got 33"),
    "warm-up": (["--warmup-steps", "200"], "warmup_steps must be below steps"),
    "margin": (["--margin", "nan"], "margin must be a finite number"),
    "width": (["--width", "0"], "width must be a finite number above 0"),
    "share of pairs": (["--transitive-share", "2"], "transitive_share must be"),
    "hardest": (["--hardest-share", "0"], "hardest_share must be"),
    "hardest of all": (
        ["--hardest-share", "0.2"],
        "hardest_share is ignored by all negatives; got 0.2: leave --hardest-share out",
    ),
    "nothing to hold out": (
        ["--held-out", "0.5"],
        "held_out is ignored without photographs; got 0.5",
    ),
    "nothing to tune on": (["--tuning"], "tuning is ignored without photographs"),
    "objects of two files": (
        ["--videos", "eth80:a.npz", "--photographs", "eth80:b.npz"],
        "are split off from those of the same file; got eth80:",
    ),
    "photographs": (["--photographs", "x"], "photographs must be none, folder:PATH"),
    "probes": (["--probes", "0"], "probes must be a whole number above 0"),
    "weight": (["--context-weight", "-1"], "context_weight must be"),
    "part": (["--least-part", "2"], "least_part must be"),
    "runner": (["--runner", "dance"], "runner"),
    "context of no use": (
        ["--only", "context"],
        "set --init context or --features context",
    ),
    "a stage of no pipeline": (
        ["--only", "triplet"],
        "got --only triplet and no --run-dir: name the directory of a pipeline",
    ),
    "unknown stage": (["--only", "dance"], "must be one of videos, mine, track"),
    "forced stage": (["--force", "dance"], "must be one of videos, mine, track"),
    "context": (["--init", "context", "--patch", "500"], "least_pixels"),
    "unknown preset": ([], "did you mean demo?"),
}


def test_a_network_alone_is_trained_in_a_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "demo"]) == 2
    assert "got --only triplet and no --run-dir" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_directory_of_another_experiment_keeps_its_record(tmp_path, capsys):
    record = {"preset": "digits", "config": {"epochs": 3.0}, "environment": {}}
    text = json.dumps(record)
    (tmp_path / "config.json").write_text(text)
    assert main(["run", "demo", "--run-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "this was written by another experiment or version; it is in" in said
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize(("flags", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_a_line(flags, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "demo" if flags else "dmo", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert says in said
    assert list(Path().iterdir()) == []
