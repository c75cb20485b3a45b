"""A run leaves what it promises, stops when asked, and goes on bit for bit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from traceback import format_stack

import numpy as np
import pytest

from experiments.lars import program
from experiments.lars.config import Config
from experiments.lars.experiment import LARS, main
from experiments.lars.presets import PRESETS, get_preset
from experiments.lars.trainer import Trainer, layer_interval
from lars_jax.runs.train import load_config
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json, read_lines
from tests.experiments.lars.conftest import SMOKE
from tests.experiments.lars.support import last_state, rows

ROOT = Path(__file__).parents[3]


def test_every_promised_file_is_there(finished):
    names = {path.name for path in finished.iterdir()}
    promised = {
        "config.json",
        "metrics.jsonl",
        "layers.jsonl",
        "checkpoints",
        "mistakes.npz",
        "report.html",
    }
    assert promised <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.endswith("tmp") for name in names)


def test_configuration_is_loaded_back_as_it_was(finished):
    config = load_config(LARS, finished)
    assert isinstance(config, Config)
    assert (config.global_batch, config.devices, config.steps) == (16, 1, 4)
    record = read_json(finished / "config.json")
    assert record["preset"] == "smoke"
    assert {"jax", "optax", "device_kind", "git_revision"} <= record[
        "environment"
    ].keys()


def test_evaluation_row_counts_every_example(finished):
    evaluations = [row for row in rows(finished) if "eval/count" in row]
    assert evaluations[-1]["step"] == 4
    assert evaluations[-1]["eval/count"] == 360
    assert 0 <= evaluations[-1]["eval/accuracy"] <= 1


def test_rows_carry_the_schedule(finished):
    rates = [row["learning_rate"] for row in rows(finished) if "learning_rate" in row]
    peak = get_preset("smoke").config.optimizer.learning_rate
    expected = [peak * (1 - step / 4) ** 2 for step in range(4)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_layer_rows_name_every_parameter(finished):
    layers = rows(finished, "layers.jsonl")[0]["layers"]
    assert layers["conv1/kernel"]["weight_norm"] > 0
    kernel = layers["conv1/kernel"]
    decay = load_config(LARS, finished).optimizer.weight_decay
    expected = 1e-3 * kernel["weight_norm"]
    expected /= kernel["gradient_norm"] + decay * kernel["weight_norm"]
    assert kernel["trust_ratio"] == pytest.approx(expected, rel=1e-5)
    rate = rows(finished)[0]["learning_rate"]
    expected = rate * kernel["trust_ratio"]
    assert kernel["effective_rate"] == pytest.approx(expected, rel=1e-6)


def test_report_needs_nothing_but_itself(finished):
    text = (finished / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert "@import" not in text
    assert "conv1/kernel" in text


def test_report_of_a_run_from_before_effective_rates_is_written(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    old = rows(copy, "layers.jsonl")
    for row in old:
        for norms in row["layers"].values():
            del norms["effective_rate"]
    (copy / "layers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in old))
    assert main(["report", str(copy)]) == 0
    text = (copy / "report.html").read_text()
    assert "Trust ratio of each layer, as lines" in text
    assert "Effective rate" not in text
    assert "Effective rate" in (finished / "report.html").read_text()


def test_report_is_written_again_from_the_files(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "run")
    (copy / "report.html").unlink()
    assert main(["report", str(copy)]) == 0
    assert (copy / "report.html").stat().st_size > 10_000
    assert str(copy / "report.html") in capsys.readouterr().out


@pytest.mark.parametrize("name", PRESETS)
def test_layers_are_recorded_often_enough_to_draw(name):
    total, log_every = 12_345, PRESETS[name].config.log_every
    logged = total // log_every
    assert total // layer_interval(total, log_every) >= min(45, logged)


def test_progress_tells_loss_rate_speed_and_wait():
    row = {"epoch": 1.5, "train/loss": 0.25, "learning_rate": 2.0}
    row |= {"images_per_second": 812.3, "data_wait": 0.015}
    said = Trainer.format_row(None, row)  # pyright: ignore[reportArgumentType]
    assert said == "epoch 1.5 loss 0.250 lr 2 812 images/s wait 1.5%"


def test_eval_gives_the_accuracy_of_the_run(finished, capsys):
    assert main(["eval", str(finished)]) == 0
    last = [row for row in rows(finished) if "eval/accuracy" in row][-1]
    said = capsys.readouterr().out
    assert f"accuracy {100 * last['eval/accuracy']:.2f} % of 360" in said


def test_step_is_traced_once_in_a_run_with_schedule_evaluation_and_checkpoints(
    tmp_path, monkeypatch
):
    traces = []
    original = program.update

    def counted(*arguments, **options):
        traces.append(
            f"in {threading.current_thread().name}\n{''.join(format_stack())}"
        )
        return original(*arguments, **options)

    monkeypatch.setattr(program, "update", counted)
    often = ["--eval-every", "0.02", "--checkpoint-every", "0.02", "--steps", "12"]
    assert main([*SMOKE, *often, "--run-dir", str(tmp_path / "run")]) == 0
    assert len([r for r in rows(tmp_path / "run") if "eval/accuracy" in r]) >= 6
    # Who traced it besides, where one did.
    assert len(traces) == 1, "\n".join(traces)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [["--optimizer", "lamb"], ["--variant", "simclr_popular"]],
    ids=["lamb", "simclr_popular"],
)
def test_control_and_variant_go_on_bit_for_bit(tmp_path, rule):
    rule = [*rule, "--learning-rate", "0.02"]
    often = ["--eval-every", "1", "--checkpoint-every", "0.04", "--steps", "8"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert main([*SMOKE, *rule, *often, "--run-dir", str(straight)]) == 0
    shutil.copytree(straight, broken)
    shutil.rmtree(broken / "checkpoints" / "8")
    assert [path.name for path in (broken / "checkpoints").glob("[0-9]*")] == ["4"]
    assert main([*SMOKE, *rule, *often, "--run-dir", str(broken), "--resume"]) == 0
    assert rows(broken) == rows(straight)
    assert rows(broken, "layers.jsonl") == rows(straight, "layers.jsonl")
    assert last_state(broken) == last_state(straight)


@pytest.mark.slow
def test_one_trainer_serves_every_rate_with_one_trace(monkeypatch):
    traces = []
    original = program.update

    def counted(*arguments, **options):
        traces.append(None)
        return original(*arguments, **options)

    monkeypatch.setattr(program, "update", counted)
    config = replace_fields(get_preset("smoke").config, global_batch=16, devices=1)
    trainer = Trainer.create(config)
    losses = []
    for rate, seed in ((1.0, 0), (2.0, 0), (1.0, 1)):
        kin = replace_fields(config, learning_rate=rate, seed=seed)
        found = []
        trainer.fit(
            trainer.init(kin),
            seed=seed,
            on_metrics=lambda step, row, found=found: found.append(float(row["loss"])),
        )
        losses.append(found)
    assert len(traces) == 1
    assert losses[0][0] == losses[1][0] != losses[2][0]
    assert losses[0][3] != losses[1][3]


LONG = [
    *("train", "digits", "--devices", "1", "--global-batch", "32", "--steps", "200"),
    *("--eval-every", "1", "--checkpoint-every", "1", "--log-every", "3"),
]


def command(directory, *more):
    return [
        *(sys.executable, "-m", "experiments.lars", *LONG),
        *("--run-dir", str(directory), *more),
    ]


def quiet_environment():
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}


def run_to_end(directory, *more):
    return subprocess.run(
        command(directory, *more),
        cwd=ROOT,
        env=quiet_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def interrupt_at(directory, step, number):
    """Start a run, send it a signal once it has logged a step, return its end."""
    process = subprocess.Popen(
        command(directory),
        cwd=ROOT,
        env=quiet_environment(),
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
def straight(tmp_path_factory):
    """Return the directory of 200 steps without a break."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    done = run_to_end(directory)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_stopped_run_goes_on_bit_for_bit(straight, tmp_path, number, status):
    directory = tmp_path / "run"
    # 100 lies between the checkpoints of steps 90 and 135, of 45 steps an epoch.
    returned, said = interrupt_at(directory, 100, number)
    assert returned == status, said
    if number != signal.SIGKILL:
        assert "stopped and saved at step" in said
    assert all(row["step"] < 200 for row in rows(directory))
    done = run_to_end(directory, "--resume")
    assert done.returncode == 0, done.stderr
    assert rows(directory) == rows(straight)
    assert rows(directory, "layers.jsonl") == rows(straight, "layers.jsonl")
    assert last_state(directory) == last_state(straight)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_exported_weights_evaluate_alike_and_begin_another_run(
    finished, tmp_path, capsys, kind
):
    file = tmp_path / f"weights.{kind}"
    assert main(["export", str(finished), str(file)]) == 0
    assert capsys.readouterr().out.endswith(f"{file}\n")
    assert main(["eval", str(finished)]) == 0
    evaluated = capsys.readouterr().out.split(": ")[1]
    # The statistics are in the file: nothing is to be estimated anew.
    config = replace_fields(
        load_config(LARS, finished), init_from=str(file), batch_statistics="running"
    )
    trainer = Trainer.create(config)
    state = trainer.init()
    found = trainer.evaluate(state)
    assert f"accuracy {100 * found['accuracy']:.2f} %" in evaluated
    assert f"loss {found['loss']:.4f}" in evaluated
    assert int(state.step) == 0
