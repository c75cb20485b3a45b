"""The micro-batch that fits: what is picked, what it costs, what is refused."""

import json
from typing import get_args

import jax
import pytest

from experiments.lars import memory
from experiments.lars.config import replace
from experiments.lars.device import GIB, device_memory, process_memory
from experiments.lars.experiment import main
from experiments.lars.memory import SHARE, compiled_bytes, resolve, steps_ahead
from experiments.lars.parts import divided, parts_of
from experiments.lars.presets import get_preset
from experiments.lars.program import build_train_step
from experiments.lars.resolved import for_evaluation, pinned
from experiments.lars.shapes import Setting, assumed_facts
from experiments.lars.trainer import Trainer
from lars_jax import InputError
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.parallel import Backend

SMOKE = replace(get_preset("smoke").config, devices=1, bn_span=8)
MIB = 2**20
STEPS = [
    f"XLA compilation of jit({name})" for name in ("train_step", "wrapped", "_fun")
]
"""What JAX logs of a step that it compiles, plain or mapped."""


def setting(devices=1, backend: Backend = "jit", image=(8, 8, 1), beside=0):
    parallel = DataParallel(data_mesh(devices), backend)
    return Setting(parallel, assumed_facts(SMOKE), image, beside=beside)


@pytest.fixture
def compiled(monkeypatch):
    """Let a formula stand in for the compiler, and return the parts it was asked."""
    asked = []

    def model(fixed, each, power=1.0):
        def found(step, config, setting):
            del step
            parts = parts_of(config)
            asked.append(parts)
            share = config.global_batch / (parts * setting.parallel.num_devices)
            return int(fixed + each * share**power)

        monkeypatch.setattr(memory, "compiled_bytes", found)
        return asked

    return model


def test_what_fits_by_its_shapes_is_not_compiled(compiled):
    asked = compiled(0, 0)
    found = resolve(replace(SMOKE, global_batch=1024), setting(), GIB)
    assert parts_of(found.config) == 1
    assert asked == []
    assert found.train_step is None
    assert 0 < found.estimate <= SHARE * GIB
    assert found.reason.startswith("1 micro-batch of 1024 examples in spans of 8")


# An example of resnet8 keeps 0.09 MiB, so a batch of 4096 some 400 MiB.
@pytest.mark.parametrize("each", [0.02, 0.07, 0.09, 0.15, 0.6])
@pytest.mark.parametrize(("fixed", "power"), [(0, 1.0), (4, 1.0), (4, 1.1), (4, 0.9)])
def test_largest_micro_batch_that_fits_is_found(compiled, each, fixed, power):
    asked = compiled(fixed * MIB, each * MIB, power)
    config = replace(SMOKE, global_batch=4096)
    limit = 60 * MIB
    found = resolve(config, setting(image=None), limit)

    def fits(parts):
        share = 4096 / parts
        return fixed * MIB + each * MIB * share**power <= SHARE * limit

    fewest = next(parts for parts in (2**n for n in range(10)) if fits(parts))
    assert parts_of(found.config) == fewest
    assert found.estimate == found.compiled[fewest] <= SHARE * limit
    assert asked == list(found.compiled)
    assert len(asked) <= 4


def test_same_arguments_give_the_same_choice(compiled):
    compiled(MIB, 0.1 * MIB)
    config = replace(SMOKE, global_batch=4096)
    one, two = (resolve(config, setting(), 60 * MIB) for _ in range(2))
    assert (one.config, one.reason, one.compiled) == (
        two.config,
        two.reason,
        two.compiled,
    )


@pytest.mark.slow
def test_compiler_is_asked_and_its_answer_is_the_largest_that_fits():
    config = replace(SMOKE, global_batch=512, bn_span=64)
    given = setting()
    limit = 20 * MIB
    found = resolve(config, given, limit)
    parts = parts_of(found.config)
    assert parts > 1

    def needed(parts):
        cut = divided(config, parts, 1)
        step = build_train_step(cut, given.facts, given.parallel)
        return compiled_bytes(step, cut, given)

    # Beside the program, eight batches that are queued, 64 pixels and three numbers.
    assert found.estimate == needed(parts) + 8 * 512 * (64 + 3 * 4)
    assert found.estimate <= SHARE * limit < needed(parts // 2)
    assert f"{parts} micro-batches of {512 // parts} examples" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("backend", get_args(Backend))
def test_program_that_was_compiled_is_the_one_that_runs(backend, caplog):
    config = replace(
        SMOKE,
        global_batch=512,
        bn_span=8,
        steps=2,
        devices=8,
        backend=backend,
        device_memory=4 / 1024,
    )
    with jax.log_compiles(), caplog.at_level("WARNING"):
        trainer = Trainer.create(config)
        assert parts_of(trainer.config) > 1
        # What is looked for below can be seen where it is to be found.
        assert any(name in caplog.text for name in STEPS)
        state = trainer.initial_state()
        caplog.clear()
        trainer.fit(state)
    assert not any(name in caplog.text for name in STEPS)


@pytest.mark.parametrize(
    ("span", "each", "parts"),
    # Shares of a device: 128 whole, then 64 and 32. What cuts a span comes last.
    [(32, 0.06, 4), (32, 0.2, 8), (128, 0.06, 4), (128, 0.02, 1)],
)
def test_devices_hold_whole_spans_where_that_fits(compiled, span, each, parts):
    compiled(0, each * MIB)
    config = replace(SMOKE, global_batch=1024, bn_span=span, devices=8)
    found = resolve(config, setting(8, image=None), 4 * MIB)
    assert parts_of(found.config) == parts


@pytest.mark.parametrize(
    ("changes", "devices", "backend", "parts"),
    [
        ({"bn_span": "global"}, 1, "jit", [1]),
        ({"bn_span": 64}, 1, "jit", [1]),
        ({"bn_span": 16}, 1, "jit", [1, 2, 4]),
        ({"bn_span": 16}, 4, "jit", [1, 2, 4]),
        ({"bn_span": 16}, 4, "shard_map", [1]),
        ({"bn_span": 4}, 8, "pmap", [1, 2]),
        ({"bn_span": "per_device"}, 8, "jit", [1, 2, 4, 8]),
        ({"network": "alexnet", "bn_span": "global"}, 16, "jit", [1, 2, 4]),
    ],
)
def test_parts_cut_no_span_and_no_share(changes, devices, backend, parts):
    config = replace(SMOKE, global_batch=64, **changes)
    # Shares are counted and nothing runs, so there may be more devices than here.
    parallel = DataParallel(data_mesh(min(devices, 8)), backend)
    if devices > 8:
        parts = [1, 2, 4, 8]
    assert list(memory._legal_parts(config, parallel)) == parts


def test_nothing_fits_says_how_much_is_missing(compiled):
    compiled(2 * MIB, MIB)
    with pytest.raises(
        InputError, match=r"8 examples in spans of 8 over 1 device:"
    ) as no:
        resolve(replace(SMOKE, global_batch=256), setting(), 10 * MIB)
    assert "got 0.01 of 0.01 GiB" in str(no.value)
    assert "\n" not in str(no.value)


def test_what_lies_on_a_device_counts(compiled):
    asked = compiled(0, 0.05 * MIB)
    config = replace(SMOKE, global_batch=1024)
    free = resolve(config, setting(), 60 * MIB)
    full = resolve(config, setting(beside=40 * MIB), 60 * MIB)
    assert parts_of(full.config) > parts_of(free.config)
    asked.clear()
    with pytest.raises(InputError, match="state, data and batch"):
        resolve(config, setting(beside=60 * MIB), 60 * MIB)
    assert asked == []


def test_global_span_that_does_not_fit_is_refused_with_a_way_out(compiled):
    compiled(0, MIB)
    config = replace(SMOKE, global_batch=1024, bn_span="global")
    with pytest.raises(InputError, match="in spans of 1024 .* a smaller --bn-span"):
        resolve(config, setting(), 60 * MIB)


def test_queue_of_large_batches_is_short():
    large, small = setting(8, image=(224, 224, 3)), setting(8, image=None)
    assert steps_ahead(large, 65536) == 1
    assert steps_ahead(large, 32768) == 1
    assert steps_ahead(large, 8192) == 6
    assert steps_ahead(small, 65536) == 8


def test_memory_of_a_device_is_what_the_configuration_says():
    config = replace(SMOKE, device_memory=1.5)
    assert device_memory(config, DataParallel(data_mesh(8))) == 1.5 * GIB


def test_cpu_devices_share_what_the_process_may_take(monkeypatch):
    monkeypatch.setattr("experiments.lars.device.process_memory", lambda: 27 * GIB)
    assert device_memory(SMOKE, DataParallel(data_mesh(1))) == 27 * GIB
    assert device_memory(SMOKE, DataParallel(data_mesh(8))) == 3 * GIB
    monkeypatch.setattr("experiments.lars.device.process_memory", lambda: 4 * GIB)
    assert device_memory(SMOKE, DataParallel(data_mesh(8))) == GIB // 2


def written(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("line", "place", "names"),
    [
        ("0::/outer/inner\n", "", ("memory.max", "memory.current")),
        (
            "5:cpu:/\n4:cpuset,memory:/outer/inner\n",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ),
    ],
)
def test_least_of_machine_and_control_groups_is_left(tmp_path, line, place, names):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (tmp_path / "self").write_text(line)
    limit, usage = names
    inner, outer = (tmp_path / "fs" / place / name for name in ("outer/inner", "outer"))
    inner.mkdir(parents=True)

    def left():
        return process_memory(tmp_path / "meminfo", tmp_path / "self", tmp_path / "fs")

    assert left() == 8_192_000
    (outer / limit).write_text("5000000\n")
    (outer / usage).write_text("1000000\n")
    assert left() == 4_000_000
    # Files that are only cached make room.
    (outer / "memory.stat").write_text("anon 7\ninactive_file 300000\n")
    assert left() == 4_300_000
    (inner / limit).write_text("max\n")
    (inner / usage).write_text("1000000\n")
    assert left() == 4_300_000
    (inner / limit).write_text("1500000\n")
    assert left() == 500_000


@pytest.mark.slow
def test_run_in_parts_that_fit_ends_where_a_whole_one_does(tmp_path, capsys):
    words = ["train", "smoke", "--devices", "1", "--bn-span", "16", "--seed", "3"]
    words += ["--optimizer", "sgd", "--learning-rate", "0.05"]
    runs = {"whole": ["--microbatches", "1"], "fit": ["--device-memory", "0.004"]}
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
    config = replace(SMOKE, bn_span="per_device")
    assert pinned(config, tmp_path) == config
    assert pinned(config, tmp_path / "run").model.bn_span == 8
    evaluated = for_evaluation(config, tmp_path / "run")
    assert (evaluated.model.bn_span, evaluated.microbatches) == (8, 1)


def test_show_tells_what_a_device_would_take(capsys):
    words = ["show", "digits", "--bn-span", "64", "--devices", "1"]
    assert main([*words, "--device-memory", "16"]) == 0
    assert "micro-batches: 1 micro-batch of 256 examples" in capsys.readouterr().out
    assert main([*words, "--device-memory", "0.02"]) == 0
    assert "micro-batches: 2 micro-batches of 128" in capsys.readouterr().out
    assert main(words) == 0
    assert "--device-memory GIB tells how many" in capsys.readouterr().out
