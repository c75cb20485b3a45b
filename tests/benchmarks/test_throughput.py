"""Our side of the benchmark of training throughput, with no other beside it."""

import pytest

from benchmarks.common import records
from benchmarks.throughput import breakdown as parts
from benchmarks.throughput import cifar10 as throughput
from experiments.lars.trainer import Trainer

pytestmark = pytest.mark.slow

TINY = throughput.Settings(
    batch=8, rounds=2, round_seconds=0.01, torch=False, breakdown=True
)


@pytest.fixture(scope="module")
def row() -> dict:
    source = throughput.noise(16)
    return throughput.measure(TINY, source)


def test_our_side_runs_without_torch(row):
    speed = row["images_per_second"][throughput.OURS]
    assert list(row["images_per_second"]) == [throughput.OURS]
    assert speed["n"] == TINY.rounds
    assert 0 < speed["lowest"] <= speed["median"] <= speed["highest"]
    assert "ratio" not in row
    assert row["config"]["global_batch"] == TINY.batch


def test_state_goes_on_from_round_to_round(monkeypatch):
    begun, fit = [], Trainer.fit

    def noted(self: Trainer, state):
        begun.append(int(state.step))
        return fit(self, state)

    monkeypatch.setattr(Trainer, "fit", noted)
    run = throughput.our_run(throughput.our_trainer(TINY, throughput.noise(16)))
    run(2)
    run(1)
    assert begun == [0, 2]


def test_record_keeps_the_rows_of_other_configurations(row, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    throughput.save(TINY, row)
    path = throughput.save(throughput.Settings(batch=16), row)
    rows = records.read_record(path.stem)["rows"]
    assert list(rows) == ["resnet20_8_float32_lars", "resnet20_16_float32_lars"]


def test_table_names_machine_and_speed(row):
    text = throughput.describe(row)
    assert records.machine() in text
    median = row["images_per_second"][throughput.OURS]["median"]
    assert f"{median:.0f}" in text


def test_shares_are_of_the_whole_step(row):
    found = row["breakdown"]
    assert list(found) == [parts.STEP, *parts.PARTS]
    assert found[parts.STEP]["share"]["values"] == [1.0, 1.0]
    assert all(part["seconds"]["lowest"] > 0 for part in found.values())
