"""A run leaves what it promises, and goes on bit for bit."""

import json
import re
import shutil
import signal
from unittest import mock

import numpy as np
import pytest

from benchmarks.common.processes import Local
from experiments.lars import program
from experiments.lars.config import Config
from experiments.lars.experiment import LARS, main
from experiments.lars.presets import PRESETS, get_preset
from experiments.lars.trainer import Trainer, layer_interval
from lars_jax.runs.restore import load_config
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json
from tests.experiments.lars.conftest import SMOKE
from tests.whole_runs import last_leaves, rows, stopped


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


def test_report_of_a_run_from_before_effective_rates_is_written(
    finished, tmp_path, capsys
):
    copy = shutil.copytree(finished, tmp_path / "run")
    old = rows(copy, "layers.jsonl")
    for row in old:
        for norms in row["layers"].values():
            del norms["effective_rate"]
    (copy / "layers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in old))
    (copy / "report.html").unlink()
    assert main(["report", str(copy)]) == 0
    assert str(copy / "report.html") in capsys.readouterr().out
    text = (copy / "report.html").read_text()
    assert "Trust ratio of each layer, as lines" in text
    assert "Effective rate" not in text
    assert "Effective rate" in (finished / "report.html").read_text()


def test_layers_are_recorded_often_enough_to_draw():
    total = 12_345
    for log_every in {preset.config.log_every for preset in PRESETS.values()}:
        logged = total // log_every
        assert total // layer_interval(total, log_every) >= min(45, logged), log_every


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
    finished_and_traces,
):
    directory, traces = finished_and_traces
    evaluated = [row["step"] for row in rows(directory) if "eval/accuracy" in row]
    assert evaluated == [2, 4]
    assert traces == 1


@pytest.mark.slow
def test_other_rule_goes_on_bit_for_bit(tmp_path):
    rule = ["--optimizer", "lamb", "--learning-rate", "0.02"]
    often = ["--eval-every", "1", "--checkpoint-every", "0.02"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert main([*SMOKE, *rule, *often, "--run-dir", str(straight)]) == 0
    shutil.copytree(straight, broken)
    shutil.rmtree(broken / "checkpoints" / "4")
    assert [path.name for path in (broken / "checkpoints").glob("[0-9]*")] == ["2"]
    assert main([*SMOKE, *rule, *often, "--run-dir", str(broken), "--resume"]) == 0
    assert rows(broken) == rows(straight)
    assert rows(broken, "layers.jsonl") == rows(straight, "layers.jsonl")
    assert last_leaves(LARS, broken) == last_leaves(LARS, straight)


@pytest.mark.slow
def test_one_trainer_serves_every_rate_with_one_trace():
    config = replace_fields(get_preset("smoke").config, global_batch=16, devices=1)
    losses = []
    with mock.patch.object(program, "update", side_effect=program.update) as update:
        trainer = Trainer.create(config)
        for rate, seed in ((1.0, 0), (2.0, 0), (1.0, 1)):
            kin = replace_fields(config, learning_rate=rate, seed=seed)
            found: list[float] = []
            trainer.fit(
                trainer.init(kin),
                seed=seed,
                on_metrics=lambda step, row, found=found: found.append(row["loss"]),
            )
            losses.append(found)
    assert update.call_count == 1
    assert losses[0][0] == losses[1][0] != losses[2][0]
    assert losses[0][3] != losses[1][3]


LONG = [
    *("train", "digits", "--devices", "1", "--global-batch", "32", "--steps", "100"),
    *("--eval-every", "1", "--checkpoint-every", "0.5", "--log-every", "3"),
]


@pytest.mark.slow
def test_killed_process_goes_on_bit_for_bit(tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    Local(1, tmp_path, *LONG, "--run-dir", str(straight)).end(0)
    # 51 lies between the checkpoints of steps 45 and 67, of 45 steps an epoch.
    kill = signal.SIGKILL
    status, said = stopped(broken, 51, kill, *LONG, module="experiments.lars")
    assert status == -kill, said
    assert all(row["step"] < 100 for row in rows(broken))
    Local(1, tmp_path, *LONG, "--run-dir", str(broken), "--resume").end(0)
    assert rows(broken) == rows(straight)
    assert rows(broken, "layers.jsonl") == rows(straight, "layers.jsonl")
    assert last_leaves(LARS, broken) == last_leaves(LARS, straight)


def test_exported_weights_evaluate_alike_and_begin_another_run(
    finished, tmp_path, capsys
):
    file = tmp_path / "weights.npz"
    assert main(["export", str(finished), str(file)]) == 0
    assert capsys.readouterr().out.endswith(f"{file}\n")
    (*_, last) = (row for row in rows(finished) if "eval/accuracy" in row)
    # The statistics are in the file: nothing is to be estimated anew.
    config = replace_fields(
        load_config(LARS, finished), init_from=str(file), batch_statistics="running"
    )
    trainer = Trainer.create(config)
    state = trainer.init()
    found = trainer.evaluate(state)
    assert found["accuracy"] == last["eval/accuracy"]
    assert found["loss"] == pytest.approx(last["eval/loss"], rel=1e-6)
    assert int(state.step) == 0


@pytest.mark.slow
def test_estimated_statistics_mend_what_few_large_steps_leave_behind():
    # At a constant rate the weights have run away from the running average.
    config = replace_fields(
        get_preset("smoke").config,
        devices=1,
        optimizer="sgd",
        global_batch=256,
        steps=8,
        learning_rate=0.2,
        decay_power=0.0,
    )
    accuracy = {}
    trainer = Trainer.create(config)
    state, _ = trainer.fit(trainer.init())
    for choice in ("running", "estimated", "auto"):
        chosen = replace_fields(config, batch_statistics=choice)
        kin = Trainer(chosen, trainer.inputs, trainer.program)
        accuracy[choice] = kin.evaluate(state)["accuracy"]
    assert accuracy["estimated"] > accuracy["running"] + 0.2
    assert accuracy["auto"] == accuracy["estimated"]
