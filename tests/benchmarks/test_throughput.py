"""The benchmarks' arithmetic, and our side of them with no other beside it."""

import json

import jax
import pytest

from benchmarks.common.rounds import Summary, alternate, ratios, steps_for
from benchmarks.lars import cifar10 as gpu_cifar10
from benchmarks.throughput import breakdown as parts
from benchmarks.throughput import cifar10 as throughput
from experiments.lars.config import Config

TINY = throughput.Settings(
    batch=8, rounds=2, round_seconds=0.01, torch=False, breakdown=True
)


@pytest.fixture(scope="module")
def row() -> dict:
    source = throughput.noise(16)
    return throughput.measure(TINY, source)


def test_rounds_alternate():
    calls = []
    runs = {name: lambda n, name=name: calls.append((name, n)) for name in ("a", "b")}
    taken = alternate(runs, {"a": 2, "b": 5}, rounds=3)
    assert calls == [("a", 2), ("b", 5)] * 3
    assert [len(times) for times in taken.values()] == [3, 3]


def test_time_of_a_round_is_shared_among_its_steps(monkeypatch):
    clock = iter([0.0, 6.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert alternate({"a": lambda n: None}, {"a": 3}, rounds=1) == {"a": [2.0]}


def test_warm_up_is_not_timed(monkeypatch):
    now = 0.0

    def run(steps):
        nonlocal now
        now += steps * (100.0 if first else 0.5)
        first.clear()

    first = [True]
    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert steps_for(run, target=4.0) == 8


def test_a_round_has_a_step_however_long_it_takes(monkeypatch):
    clock = iter([0.0, 300.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert steps_for(lambda n: None, target=1.0) == 1


def test_ratios_are_of_pairs_and_not_of_medians():
    over, under = [10.0, 2.0, 30.0], [5.0, 1.0, 10.0]
    assert ratios(over, under) == [2.0, 2.0, 3.0]
    assert Summary.of(ratios(over, under)).median == 2.0


def test_summary_of_an_even_number_takes_the_middle():
    summary = Summary.of([4.0, 1.0, 3.0, 2.0])
    assert summary == Summary(4, 2.5, 1.0, 4.0, (4.0, 1.0, 3.0, 2.0))


@pytest.mark.slow
def test_our_side_runs_without_torch(row):
    speed = row["images_per_second"][throughput.OURS]
    assert list(row["images_per_second"]) == [throughput.OURS]
    assert speed["n"] == TINY.rounds
    assert 0 < speed["lowest"] <= speed["median"] <= speed["highest"]
    assert "ratio" not in row
    assert row["config"]["global_batch"] == TINY.batch


def test_state_goes_on_from_round_to_round():
    training = throughput.Training(throughput.our_trainer(TINY, throughput.noise(16)))
    training.run(2)
    training.run(1)
    assert training.state.step == 3


@pytest.mark.slow
def test_record_keeps_the_rows_of_other_configurations(row, tmp_path):
    settings = throughput.Settings(batch=8, records=tmp_path)
    other = throughput.Settings(batch=16, records=tmp_path)
    throughput.save(settings, row)
    path = throughput.save(other, row)
    rows = json.loads(path.read_text())
    assert list(rows) == ["resnet20_8_float32_lars", "resnet20_16_float32_lars"]


@pytest.mark.slow
def test_table_names_machine_and_speed(row):
    text = throughput.table(row)
    assert row["machine"]["processor"] in text
    median = row["images_per_second"][throughput.OURS]["median"]
    assert f"{median:.0f}" in text


@pytest.mark.slow
def test_shares_are_of_the_whole_step(row):
    found = row["breakdown"]
    assert list(found) == [parts.STEP, *parts.PARTS]
    assert found[parts.STEP]["share"]["values"] == (1.0, 1.0)
    assert all(part["seconds"]["lowest"] > 0 for part in found.values())


def test_presets_of_the_gpu_command_exist():
    for name in gpu_cifar10.PRESETS:
        config = gpu_cifar10.get_preset(name).config
        assert config.data.dataset == "cifar10"


def test_a_trial_is_shorter_and_a_run_is_not():
    assert gpu_cifar10.shortened(Config(), 2).steps == 2
    assert gpu_cifar10.shortened(Config(), None) == Config()


def test_speed_of_a_run_leaves_out_compilation(tmp_path):
    speeds = [1.0, 300.0, 100.0, 200.0]
    lines = [{"step": i, "images_per_second": s} for i, s in enumerate(speeds)]
    lines.append({"step": 3, "eval/accuracy": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    assert gpu_cifar10.training_speed(tmp_path) == 200.0


def test_device_name_fits_into_a_file_name():
    assert throughput.device_name() == jax.devices()[0].device_kind.lower()
