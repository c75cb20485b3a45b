"""Micro-batches that the compiler was asked for, and the runs that they make."""

import json
from typing import get_args

import jax
import pytest

from experiments.lars.ahead import compile_training
from experiments.lars.experiment import LARS, main
from experiments.lars.microbatches import (
    SHARE,
    choose_microbatches,
    compile_step,
    freeze_auto,
    with_microbatches,
)
from experiments.lars.presets import get_preset
from experiments.lars.shapes import Setting, assumed_facts
from experiments.lars.trainer import Trainer
from lars_jax.compiler.account import account
from lars_jax.runs import read_run
from lars_jax.runs.restore import restore
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend
from tests.cases import mostly_slow

pytestmark = pytest.mark.usefixtures("tiny_network")

SMOKE = replace_fields(get_preset("smoke").config, devices=1, bn_span=8)
MIB = 2**20
STEPS = [
    f"XLA compilation of jit({name})" for name in ("train_step", "wrapped", "_fun")
]
"""What JAX logs of a step that it compiles, plain or mapped."""


@pytest.mark.slow
def test_compiler_is_asked_and_its_answer_is_the_largest_that_fits():
    config = replace_fields(SMOKE, global_batch=512, bn_span=64)
    setting = Setting(DataParallel(data_mesh(1)), assumed_facts(config), (8, 8, 1))
    limit = 2 * MIB
    found = choose_microbatches(config, setting, limit)
    parts = found.config.parts
    assert parts > 1

    def needed(parts):
        return compile_step(with_microbatches(config, parts, 1), setting)[1]

    # Beside the program, eight batches that are queued, 64 pixels and three numbers.
    assert found.estimate == needed(parts) + 8 * 512 * (64 + 3 * 4)
    assert found.estimate <= SHARE * limit < needed(parts // 2)
    assert f"{parts} micro-batches of {512 // parts} examples" in found.reason


@pytest.mark.parametrize(
    "backend", mostly_slow({name: (name,) for name in get_args(Backend)}, ["jit"])
)
def test_program_that_was_compiled_is_the_one_that_runs(backend, caplog):
    config = replace_fields(
        SMOKE,
        global_batch=512,
        steps=2,
        devices=8,
        backend=backend,
        device_memory=0.4 / 1024,
    )
    with jax.log_compiles(), caplog.at_level("WARNING"):
        trainer = Trainer.create(config)
        assert trainer.config.parts > 1
        # What is looked for below can be seen where it is to be found.
        assert any(name in caplog.text for name in STEPS)
        state = trainer.init()
        caplog.clear()
        trainer.fit(state)
    assert not any(name in caplog.text for name in STEPS)


@pytest.mark.slow
def test_run_in_parts_that_fit_ends_where_a_whole_one_does(tmp_path, capsys):
    words = ["train", "smoke", "--devices", "1", "--bn-span", "16", "--seed", "3"]
    words += ["--optimizer", "sgd", "--learning-rate", "0.05"]
    runs = {"whole": ["--microbatches", "1"], "fit": ["--device-memory", "0.0006"]}
    rows = {}
    for name, more in runs.items():
        directory = tmp_path / name
        assert main([*words, *more, "--run-dir", str(directory)]) == 0
        lines = (directory / "metrics.jsonl").read_text().splitlines()
        rows[name] = [json.loads(line) for line in lines]
    said = capsys.readouterr().err
    assert "1 micro-batch of 64 examples in spans of 16, as asked" in said
    record = json.loads((tmp_path / "fit" / "config.json").read_text())
    assert record["config"]["microbatches"] == "auto"
    assert record["resolved"]["microbatches"] > 1
    assert record["resolved"]["reason"] in said
    for whole, fit in zip(rows["whole"], rows["fit"], strict=True):
        for name in ("train/loss", "eval/loss"):
            assert fit.get(name, 0) == pytest.approx(whole.get(name, 0), rel=1e-4)
    # What evaluates later neither compiles nor asks for memory.
    assert main(["eval", str(tmp_path / "fit")]) == 0


@pytest.mark.slow
def test_span_of_a_device_stays_what_it_was_when_the_run_began(tmp_path):
    words = ["train", "smoke", "--devices", "8", "--bn-span", "per_device"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    config = replace_fields(SMOKE, bn_span="per_device")
    assert freeze_auto(config, {}) == config
    resolved = read_run(tmp_path / "run")["resolved"]
    assert freeze_auto(config, resolved).model.bn_span == 8
    evaluated = restore(LARS, tmp_path / "run").config
    assert (evaluated.model.bn_span, evaluated.microbatches) == (8, 1)


def test_show_tells_what_a_device_would_take(capsys):
    words = ["show", "smoke", "--bn-span", "32", "--devices", "1"]
    assert main([*words, "--device-memory", "16"]) == 0
    assert "micro-batches: 1 micro-batch of 64 examples" in capsys.readouterr().out
    assert main([*words, "--device-memory", "0.00055"]) == 0
    assert "micro-batches: 2 micro-batches of 32" in capsys.readouterr().out
    # More devices than there are here.
    more = ["show", "smoke", "--bn-span", "1", "--devices", "32", "--microbatches", "2"]
    assert main(more) == 0
    assert "micro-batches: 2, as asked" in capsys.readouterr().out
    assert main(words) == 0
    assert "--device-memory GIB tells how many" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "span",
    [
        pytest.param(32, marks=pytest.mark.slow),
        64,
        pytest.param(128, marks=pytest.mark.slow),
    ],
)
def test_no_device_does_the_work_of_another(span):
    """Of a micro-batch of 256 examples a span of 64 lies on two of eight devices."""
    config = replace_fields(
        get_preset("digits_1024").config, global_batch=512, bn_span=span
    )
    whole, parts = (
        account(
            compile_training(
                replace_fields(config, microbatches=count), data_mesh(8), 2**30
            )[1],
            8,
        )
        for count in (1, 2)
    )
    assert parts.flops == pytest.approx(whole.flops, rel=0.02)
