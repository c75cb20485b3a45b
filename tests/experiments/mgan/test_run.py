"""A run leaves what it promises, stops when asked, and goes on bit for bit."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.mgan import run
from experiments.mgan.experiment import MGAN, main
from experiments.mgan.trainer import Trainer
from lars_jax.runs.train import load_config, restore
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_lines
from lars_jax.train.weights import load_weights
from tests.cases import mostly_slow
from tests.experiments.mgan.support import (
    DIGITS,
    RING,
    contents,
    in_call,
    last_state,
    rows,
    saved_state,
)

ROOT = Path(__file__).parents[3]

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


@pytest.fixture(params=["ring_run", "digits_run"])
def finished(request):
    return request.getfixturevalue(request.param)


def test_every_promised_file_is_there(finished):
    names = {path.name for path in finished.iterdir()}
    promised = {
        *("config.json", "attempts.jsonl", "metrics.jsonl"),
        *("samples", "checkpoints", "report.html"),
    }
    assert promised <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any("tmp" in path.name for path in finished.rglob("*"))


@pytest.mark.parametrize(
    ("run", "pictures"),
    [
        ("ring_run", {"evolution.svg"}),
        (
            "digits_run",
            {
                *("samples.png", "interpolation.png"),
                *("neighbours.png", "confusion.svg"),
            },
        ),
    ],
)
def test_pictures_of_the_report_lie_beside_it(request, run, pictures):
    directory = request.getfixturevalue(run)
    found = {p.name for p in directory.iterdir() if p.suffix in (".png", ".svg")}
    assert found == pictures
    assert (directory / "gallery.npz").exists() == (run == "digits_run")


def test_head_of_a_report_on_images_tells_what_needs_no_other_network(digits_run):
    with np.load(digits_run / "gallery.npz") as gallery:
        told_apart = np.trace(gallery["confusion"]) / 10
        distance = np.median(gallery["sample_distance"])
    text = (digits_run / "report.html").read_text()
    head = re.sub(r"<[^>]+>", " ", text[: text.index("Course of training")])
    assert f"samples told apart {100 * told_apart:.0f} %" in " ".join(head.split())
    assert f"distance to the data {distance:.1f}" in " ".join(head.split())


def test_report_needs_nothing_but_itself(finished):
    text = (finished / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert "@import" not in text


def test_report_is_written_again_to_the_byte(finished, tmp_path, capsys):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    before = contents(copy)
    for path in (*copy.glob("*.svg"), *copy.glob("*.png"), copy / "report.html"):
        path.unlink()
    assert main(["report", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy / 'report.html'}\n"
    assert contents(copy) == before


def test_report_of_a_run_that_has_only_begun(ring_run, tmp_path):
    copy = Path(shutil.copytree(ring_run, tmp_path / "run"))
    shutil.rmtree(copy / "samples")
    (copy / "metrics.jsonl").unlink()
    assert main(["report", str(copy)]) == 0
    assert "0 of 40" in (copy / "report.html").read_text()


def test_every_number_of_the_rows_is_finite(finished):
    found = list(read_lines(finished / "metrics.jsonl"))
    assert all(math.isfinite(value) for row in found for value in row.values())


def test_rows_of_a_game_in_the_plane_have_the_names_that_are_promised(ring_run):
    floor, *rest = read_lines(ring_run / "metrics.jsonl")
    assert floor.keys() == {"step", "floor/symmetric_kl", "floor/wasserstein"}
    calls = [row for row in rest if "loss" in row]
    evaluations = [row for row in rest if "eval/count" in row]
    assert [row["step"] for row in calls] == [10, 20, 30, 40]
    assert [row["step"] for row in evaluations] == [20, 40]
    assert all(row.keys() == {"step"} | LOSSES | TIMED for row in calls)
    assert all(row.keys() == {"step"} | EVALUATED for row in evaluations)
    assert evaluations[-1]["eval/count"] == 500


def test_rows_of_a_game_of_images_have_the_names_that_are_promised(digits_run):
    found = list(read_lines(digits_run / "metrics.jsonl"))
    calls = [row for row in found if "loss" in row]
    assert [row["step"] for row in calls] == [5, 10, 15, 20]
    assert all(row.keys() == {"step"} | LOSSES | TIMED for row in calls)
    rest = [row for row in found if "loss" not in row]
    assert rest == [{"step": step, "eval/count": 100.0} for step in (10, 20)]


def test_speed_of_steps_is_that_of_images_by_the_batch(ring_run):
    for row in read_lines(ring_run / "metrics.jsonl"):
        if "loss" in row:
            assert row["steps_per_second"] == row["images_per_second"] / 64


def test_snapshots_hold_points_or_images(ring_run, digits_run):
    with np.load(ring_run / "samples" / "000000020.npz") as points:
        assert int(points["step"]) == 20
        assert points["values"].shape == (512, 2)
        assert set(points["generator"]) <= set(range(8))
    with np.load(digits_run / "samples" / "000000020.npz") as images:
        assert images["values"].shape == (10, 12, 8, 8, 1)
        assert images["values"].dtype == np.uint8
        assert images["generator"].tolist() == list(range(10))


def test_last_two_checkpoints_and_the_best_are_kept(ring_run):
    kept = sorted(int(path.name) for path in (ring_run / "checkpoints").iterdir())
    scores = {
        row["step"]: -row["eval/average/wasserstein"]
        for row in rows(ring_run)
        if "eval/count" in row
    }
    best = max(scores, key=lambda step: (scores[step], step))
    assert kept == sorted({30, 40, best})


def told(row):
    found = {k.removeprefix("eval/"): v for k, v in row.items() if k != "step"}
    return run.format_evaluation(found)


def test_eval_prints_the_last_evaluation_again(ring_run, capsys):
    last = [row for row in rows(ring_run) if "eval/count" in row][-1]
    assert main(["eval", str(ring_run)]) == 0
    assert capsys.readouterr().out == f"step 40: {told(last)}\n"


def test_eval_of_the_best_checkpoint_is_the_nearest(ring_run, capsys):
    evaluations = [row for row in rows(ring_run) if "eval/count" in row]
    nearest = min(evaluations, key=lambda row: row["eval/average/wasserstein"])
    assert main(["eval", str(ring_run), "--checkpoint", "best"]) == 0
    assert capsys.readouterr().out.split(": ", 1)[1] == f"{told(nearest)}\n"


@pytest.mark.parametrize("count", [1, 700])
def test_eval_draws_as_many_samples_as_it_is_asked_for(ring_run, capsys, count):
    assert main(["eval", str(ring_run), "--samples", str(count)]) == 0
    assert capsys.readouterr().out.startswith(f"step 40: {count} samples, symmetric")


def draw(run, file, *more):
    assert main(["samples", str(run), str(file), *more]) == 0
    with np.load(file) as found:
        return dict(found)


def test_samples_of_a_game_in_the_plane_are_points(ring_run, tmp_path, capsys):
    found = draw(ring_run, tmp_path / "a.npz", "--samples", "300")
    assert capsys.readouterr().out == (
        f"300 samples after step 40: {tmp_path / 'a.npz'}\n"
    )
    assert found.keys() == {"values", "generator"}
    assert (found["values"].shape, found["values"].dtype) == ((300, 2), np.float32)
    assert found["generator"].dtype == np.int64
    assert set(found["generator"]) == set(range(8))


def test_samples_of_a_game_of_images_are_bytes(digits_run, tmp_path):
    found = draw(digits_run, tmp_path / "a.npz", "--samples", "30")
    assert found["values"].shape == (30, 8, 8, 1)
    assert found["values"].dtype == np.uint8
    assert set(found["generator"]) <= set(range(10))


def test_samples_are_the_same_whenever_they_are_drawn(ring_run, tmp_path):
    for name in ("a.npz", "b.npz"):
        draw(ring_run, tmp_path / name, "--samples", "50")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b.npz"}


def test_samples_of_the_average_are_not_those_of_the_generators(ring_run, tmp_path):
    averaged = draw(ring_run, tmp_path / "a.npz", "--samples", "50")
    as_they_are = draw(ring_run, tmp_path / "a.npz", "--samples", "50", "--no-average")
    assert not np.allclose(averaged["values"], as_they_are["values"])


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_exported_weights_are_those_of_the_averaged_generators(
    digits_run, tmp_path, capsys, kind
):
    file = tmp_path / f"generators.{kind}"
    assert main(["export", str(digits_run), str(file)]) == 0
    assert capsys.readouterr().out == f"weights after step 20: {file}\n"
    found = restore(MGAN, digits_run)
    state = found.state
    params, model_state = found.program.trainer.made_by(state, averaged=True)
    like = {"params": params, "model_state": model_state}
    assert jax.tree.all(jax.tree.map(np.array_equal, params, state.average))
    found = load_weights(file, like)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, like))
    first = file.read_bytes()
    assert main(["export", str(digits_run), str(file)]) == 0
    assert file.read_bytes() == first


def test_exported_generators_begin_another_game(ring_run, tmp_path):
    file = tmp_path / "generators.npz"
    assert main(["export", str(ring_run), str(file)]) == 0
    config = replace_fields(load_config(MGAN, ring_run), init_from=str(file), seed=5)
    trainer = Trainer.create(config)
    state, drawn = trainer.initial_state(), trainer.drawn_state()
    saved = saved_state(ring_run)
    for begun in (state.generators.params, state.average):
        jax.tree.map(np.testing.assert_array_equal, begun, saved.average)
    jax.tree.map(np.testing.assert_array_equal, state.judge, drawn.judge)
    assert int(state.generators.step) == 0
    words = [*RING, "--init-from", str(file), "--steps", "10"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0


def test_checkpoints_are_kept_for_good(tmp_path):
    words = [*RING, "--keep-every", "20", "--run-dir", str(tmp_path / "run")]
    assert main(words) == 0
    kept = {int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert {20, 30, 40} <= kept


def test_same_configuration_gives_the_same_bits(ring_run, tmp_path):
    assert main([*RING, "--run-dir", str(tmp_path / "run")]) == 0
    assert rows(tmp_path / "run") == rows(ring_run)
    assert last_state(tmp_path / "run") == last_state(ring_run)


LONG = 30.0
"""Seconds that a phase is made to last, far more than a test."""


def in_loading(patch, number):
    """Let the data be slow to load, and send the signal while they do."""
    del number

    def slow(cls, config):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LONG)

    patch(Trainer, "create", classmethod(slow))


def in_compilation(patch, number):
    del number

    def slow(self, *arguments):
        if not self.compiled:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LONG)

    patch(AheadOfTime, "compile", slow)


def in_evaluation(patch, number):
    """Let the evaluation of the given number, from 1, last."""
    original, count = run.Evaluate.__call__, iter(range(1, 1000))

    def late(self, state):
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LONG)
        return original(self, state)

    patch(run.Evaluate, "__call__", late)


def in_gallery(patch, number):
    del number

    def slow(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LONG)

    patch(run, "make_gallery", slow)


PHASES = {
    # name: (phase, number, game, step that is saved)
    "loading": (in_loading, 0, RING, None),
    "compilation": (in_compilation, 0, RING, 0),
    "first call": (in_call, 1, RING, 10),
    "call before an evaluation": (in_call, 2, RING, 20),
    "call after an evaluation": (in_call, 3, RING, 30),
    "first evaluation": (in_evaluation, 1, RING, 20),
    "last evaluation": (in_evaluation, 2, RING, 40),
    "call with images": (in_call, 3, DIGITS, 15),
    "gallery": (in_gallery, 0, DIGITS, 20),
}


@pytest.mark.parametrize(
    ("phase", "number", "words", "saved"),
    mostly_slow(PHASES, ["first call", "gallery"]),
)
def test_signal_in_a_phase_saves_and_loses_nothing(
    request, tmp_path, monkeypatch, capfd, phase, number, words, saved
):
    straight = request.getfixturevalue("ring_run" if words == RING else "digits_run")
    directory, total = tmp_path / "run", 40 if words == RING else 20
    with monkeypatch.context() as patched:
        phase(patched.setattr, number)
        started = time.monotonic()
        assert main([*words, "--run-dir", str(directory)]) == 143
        assert time.monotonic() - started < LONG
    said = capfd.readouterr().err
    if saved is None:
        assert "stopped before the first step" in said
        assert not directory.exists()
    else:
        assert f"stopped and saved at step {saved} of {total}" in said
        assert f"--run-dir {directory} --resume goes on from there" in said
    assert "Traceback" not in said
    assert main([*words, "--run-dir", str(directory), "--resume-if-any"]) == 0
    assert rows(directory) == rows(straight)
    assert last_state(directory) == last_state(straight)
    assert samples(directory) == samples(straight)


def samples(directory):
    return contents(directory / "samples")


def test_stop_after_every_call_ends_like_none(ring_run, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    for status in (143, 143, 143, 143, 0):
        with monkeypatch.context() as patched:
            in_call(patched.setattr, 1)
            words = [*RING, "--run-dir", str(directory), "--resume-if-any"]
            assert main(words) == status
    assert rows(directory) == rows(ring_run)
    assert last_state(directory) == last_state(ring_run)
    attempts = rows(directory, "attempts.jsonl")
    assert [row["step"] for row in attempts] == [0, 10, 20, 30, 40]


@pytest.mark.slow
def test_run_goes_on_with_other_devices(ring_run, tmp_path, monkeypatch):
    moved = tmp_path / "moved"
    with monkeypatch.context() as patched:
        in_call(patched.setattr, 2)
        assert main([*RING, "--run-dir", str(moved)]) == 143
    assert main([*RING, "--devices", "4", "--run-dir", str(moved), "--resume"]) == 0
    attempts = rows(moved, "attempts.jsonl")
    assert [(row["step"], row["devices"]) for row in attempts] == [(0, 1), (20, 4)]
    found, expected = rows(moved), rows(ring_run)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    losses = [
        [row["loss"] for row in run if "loss" in row] for run in (found, expected)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    states = (
        jax.tree.leaves(saved_state(run).generators.params) for run in (moved, ring_run)
    )
    for one, other in zip(*states, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)


TOTAL = 6000
SLOW = [*RING, "--steps", f"{TOTAL}", "--checkpoint-every", "500"]
SLOW += ["--eval-every", "2000"]
"""Some seconds of work, in many calls."""


def command(directory, *more):
    return [
        *(sys.executable, "-m", "experiments.mgan", *SLOW),
        *("--run-dir", str(directory), *more),
    ]


def own_environment():
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}


def interrupt_at(directory, step, number):
    """Start a run, send it a signal once it has logged a step, return its end."""
    process = subprocess.Popen(
        command(directory),
        cwd=ROOT,
        env=own_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not any(
        row["step"] >= step for row in read_lines(directory / "metrics.jsonl")
    ):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.fixture(scope="module")
def slow_run(tmp_path_factory):
    """Return the directory of a longer game without a break."""
    directory = tmp_path_factory.mktemp("slow") / "run"
    assert main([*SLOW, "--run-dir", str(directory)]) == 0
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_stopped_process_goes_on_bit_for_bit(slow_run, tmp_path, number, status):
    directory = tmp_path / "run"
    # Between two checkpoints, of steps that are multiples of 500.
    returned, said = interrupt_at(directory, 700, number)
    assert returned == status, said
    if number != signal.SIGKILL:
        assert "stopped and saved at step" in said
    assert "Traceback" not in said
    assert all(row["step"] < TOTAL for row in rows(directory))
    assert main([*SLOW, "--run-dir", str(directory), "--resume"]) == 0
    assert rows(directory) == rows(slow_run)
    assert last_state(directory) == last_state(slow_run)
