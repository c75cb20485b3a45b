"""What a game leaves in its directory, and its own commands; `tests/runs` has the rest.

Whatever the shell does for every experiment is tested there.
"""

import math
import os
import re
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.mgan import run
from experiments.mgan.experiment import main
from lars_jax.train.record import read_json, read_lines, write_json
from lars_jax.train.weights import load_weights
from tests.experiments.mgan.support import (
    DIGITS,
    RING,
    contents,
    evaluations,
    largest_gap,
    rows,
    same_bits,
    saved_state,
)

LOSSES = {
    *("loss", "discriminator_loss", "generator_loss"),
    *("classifier_loss", "classifier_accuracy"),
}
TIMED = {"images_per_second", "steps_per_second", "data_wait"}
MEASURES = {
    *("symmetric_kl", "wasserstein", "modes"),
    *("precision", "generators", "purity"),
}
EVALUATED = {
    "eval/count",
    *(f"eval/{name}" for name in MEASURES),
    *(f"eval/average/{name}" for name in MEASURES),
}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("ring_run", {"evolution.svg"}),
        pytest.param(
            "digits_run",
            {
                *("samples.png", "interpolation.png", "neighbours.png"),
                *("confusion.svg", "gallery.npz"),
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_run_leaves_what_it_promises(request, name, files):
    directory = request.getfixturevalue(name)
    names = {path.name for path in directory.iterdir()}
    assert {"config.json", "metrics.jsonl", "samples", "report.html"} <= names
    kinds = (".png", ".svg", ".npz")
    assert {name for name in names if name.endswith(kinds)} == files
    text = (directory / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    for row in read_lines(directory / "metrics.jsonl"):
        assert all(math.isfinite(value) for value in row.values())


@pytest.mark.slow
def test_head_of_a_report_on_images_tells_what_needs_no_other_network(digits_run):
    with np.load(digits_run / "gallery.npz") as gallery:
        told_apart = np.trace(gallery["confusion"]) / 3
        distance = np.median(gallery["sample_distance"])
    text = (digits_run / "report.html").read_text()
    head = re.sub(r"<[^>]+>", " ", text[: text.index("Course of training")])
    assert f"samples told apart {100 * told_apart:.0f} %" in " ".join(head.split())
    assert f"distance to the data {distance:.1f}" in " ".join(head.split())


@pytest.mark.parametrize(
    "name", ["ring_run", pytest.param("digits_run", marks=pytest.mark.slow)]
)
def test_report_is_written_again_to_the_byte(request, name, tmp_path):
    copy = Path(shutil.copytree(request.getfixturevalue(name), tmp_path / "run"))
    before = contents(copy)
    for path in (*copy.glob("*.svg"), *copy.glob("*.png"), copy / "report.html"):
        path.unlink()
    # What a process that was killed leaves is no picture.
    (copy / "samples" / ".000000020.77.tmp.npz").write_bytes(b"PK")
    assert main(["report", str(copy)]) == 0
    (copy / "samples" / ".000000020.77.tmp.npz").unlink()
    assert contents(copy) == before


def test_report_of_a_run_that_has_only_begun(ring_run, tmp_path):
    copy = Path(shutil.copytree(ring_run, tmp_path / "run"))
    shutil.rmtree(copy / "samples")
    (copy / "metrics.jsonl").unlink()
    assert main(["report", str(copy)]) == 0
    assert "0 of 20" in (copy / "report.html").read_text()


def test_rows_have_the_names_that_are_promised(ring_run):
    floor, *rest = read_lines(ring_run / "metrics.jsonl")
    assert floor.keys() == {"step", "floor/symmetric_kl", "floor/wasserstein"}
    calls = [row for row in rest if "loss" in row]
    assert [row["step"] for row in calls] == [5, 10, 15, 20]
    for row in calls:
        assert row.keys() == {"step"} | LOSSES | TIMED
        assert row["steps_per_second"] == row["images_per_second"] / 32
    assert [row["step"] for row in evaluations(ring_run)] == [10, 20]
    for row in evaluations(ring_run):
        assert row.keys() == {"step"} | EVALUATED
        assert row["eval/count"] == 100


@pytest.mark.slow
def test_rows_of_a_game_of_images_have_no_distances(digits_run):
    calls = [row for row in rows(digits_run) if "loss" in row]
    assert all(row.keys() == {"step"} | LOSSES for row in calls)
    assert evaluations(digits_run) == [{"step": 10, "eval/count": 50.0}]


def test_snapshots_hold_points(ring_run):
    with np.load(ring_run / "samples" / "000000010.npz") as points:
        assert int(points["step"]) == 10
        assert points["values"].shape == (512, 2)
        assert set(points["generator"]) == set(range(4))


@pytest.mark.slow
def test_snapshots_hold_images(digits_run):
    with np.load(digits_run / "samples" / "000000010.npz") as images:
        assert images["values"].shape == (3, 12, 8, 8, 1)
        assert images["values"].dtype == np.uint8
        assert images["generator"].tolist() == [0, 1, 2]


def test_eval_prints_the_last_evaluation_again(ring_run, ring_end, capsys):
    assert main(["eval", str(ring_run)]) == 0
    last = {
        name.removeprefix("eval/"): value
        for name, value in evaluations(ring_run)[-1].items()
        if name != "step"
    }
    said = capsys.readouterr().out
    assert said == f"step 20: {ring_end.program.format_evaluation(last)}\n"
    expected = f"wasserstein {last['wasserstein']:.3f} ("
    assert expected + f"{last['average/wasserstein']:.3f})" in said
    assert main(["eval", str(ring_run), "--samples", "7"]) == 0
    assert capsys.readouterr().out.startswith("step 20: 7 samples, symmetric kl")


def test_best_checkpoint_is_the_nearest_to_the_data(ring_end):
    row = {"count": 9.0, "wasserstein": 0.1, "average/wasserstein": 0.3}
    assert ring_end.program.score(row) == -0.3
    assert ring_end.program.score({"count": 9.0}) is None


def draw(run, file, *more):
    assert main(["samples", str(run), str(file), *more]) == 0
    with np.load(file) as found:
        return dict(found)


def test_samples_of_a_game_in_the_plane_are_points(ring_run, tmp_path, capsys):
    found = draw(ring_run, tmp_path / "a.npz", "--samples", "60")
    said = capsys.readouterr().out
    assert said == f"60 samples after step 20: {tmp_path / 'a.npz'}\n"
    assert found.keys() == {"values", "generator"}
    assert (found["values"].shape, found["values"].dtype) == ((60, 2), np.float32)
    assert found["generator"].dtype == np.int64
    assert set(found["generator"]) == set(range(4))
    playing = draw(ring_run, tmp_path / "b.npz", "--samples", "60", "--no-average")
    assert not np.allclose(playing["values"], found["values"])
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b.npz"}


@pytest.mark.slow
def test_samples_and_weights_need_no_network_for_features(digits_run, tmp_path):
    copy = Path(shutil.copytree(digits_run, tmp_path / "run"))
    record = read_json(copy / "config.json")
    record["config"]["features"] = "/absent.npz"
    record["data"]["features"] = {"examples": 1, "class_names": [], "digest": "0" * 64}
    write_json(copy / "config.json", record)
    found, expected = (
        draw(place, tmp_path / f"{name}.npz", "--samples", "30")
        for name, place in (("a", copy), ("b", digits_run))
    )
    np.testing.assert_array_equal(found["values"], expected["values"])
    weights = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for place, file in zip((copy, digits_run), weights, strict=True):
        assert main(["export", str(place), str(file)]) == 0
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_samples_of_a_game_of_images_are_bytes(digits_run, tmp_path):
    found = draw(digits_run, tmp_path / "a.npz", "--samples", "30")
    assert found["values"].shape == (30, 8, 8, 1)
    assert found["values"].dtype == np.uint8


@pytest.mark.slow
def test_exported_weights_are_those_of_the_averaged_generators(
    digits_run, digits_end, tmp_path
):
    file = tmp_path / "generators.safetensors"
    assert main(["export", str(digits_run), str(file)]) == 0
    state = digits_end.state
    params, model_state = digits_end.program.made_by(state, averaged=True)
    same_bits(params, state.average)
    like = {"params": params, "model_state": model_state}
    same_bits(load_weights(file, like), jax.device_get(like))


@pytest.mark.slow
def test_exported_generators_begin_another_game(ring_run, ring_end, tmp_path):
    file = tmp_path / "generators.npz"
    assert main(["export", str(ring_run), str(file)]) == 0
    words = [*RING, "--init-from", str(file), "--generator-rate", "0"]
    words += ["--steps", "5", "--checkpoint-every", "5", "--eval-every", "5"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    begun, saved = saved_state(tmp_path / "run"), jax.device_get(ring_end.state)
    same_bits(begun.generators.params, saved.average)
    assert largest_gap(begun.average, saved.average) < 1e-6
    assert largest_gap(begun.judge.params, saved.judge.params) > 1e-3
    assert int(begun.generators.step) == 5


LONG = 30.0
"""Seconds that a phase is made to last, far more than a test."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "make_gallery"])
def test_signal_while_images_are_looked_at_loses_nothing(
    digits_run, tmp_path, monkeypatch, capfd, name
):
    words = [*DIGITS, "--run-dir", str(tmp_path / "run"), "--resume-if-any"]
    waited = []

    def linger(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LONG)
        waited.append(LONG)

    with monkeypatch.context() as patched:
        patched.setattr(run, name, linger)
        assert main(words) == 143
    assert not waited
    assert "stopped and saved at step 10 of 10" in capfd.readouterr().err
    assert main(words) == 0
    assert rows(tmp_path / "run") == rows(digits_run)
    same_bits(saved_state(tmp_path / "run"), saved_state(digits_run))
    assert contents(tmp_path / "run" / "samples") == contents(digits_run / "samples")


@pytest.mark.slow
def test_run_that_is_stopped_between_calls_ends_in_the_same_bits(
    ring_run, tmp_path, monkeypatch
):
    words = [*RING, "--run-dir", str(tmp_path / "run"), "--resume-if-any"]
    with monkeypatch.context() as patched:
        original, signals = run.plain, [signal.SIGTERM]

        def stop(metrics):
            # A second signal would end the process at once.
            if signals:
                signal.raise_signal(signals.pop())
            return original(metrics)

        patched.setattr(run, "plain", stop)
        assert main(words) == 143
    assert main(words) == 0
    assert rows(tmp_path / "run") == rows(ring_run)
    same_bits(saved_state(tmp_path / "run"), saved_state(ring_run))
    attempts = [row["step"] for row in rows(tmp_path / "run", "attempts.jsonl")]
    assert attempts[0] == 0 < attempts[1] < 20
