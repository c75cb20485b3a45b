"""Weak scaling: what its rows are made of, and its figure."""

# matplotlib does not say of what kind a container of error bars is.
# pyright: reportAttributeAccessIssue=false

from typing import Any

import pytest

from benchmarks.common.rounds import Times
from benchmarks.mesh import scaling
from experiments.lars.config import Config

TINY = scaling.Settings(devices=(1, 2), examples=4, rounds=2, round_seconds=0.01)


@pytest.fixture
def configs(monkeypatch) -> list[Config]:
    """Return the configurations that are timed, on a clock that they move."""
    now, worked, seen = 0.0, [0.0], []
    seconds = {("jit", 1): 1.0, ("jit", 2): 3.0, ("shard_map", 2): 2.0}

    def make(config: Config) -> scaling.Run:
        seen.append(config)

        def run(steps: int) -> None:
            nonlocal now
            place = config.backend, config.devices or 0
            now += steps * seconds.get(place, 4.0)
            worked[0] += 2.0 * steps

        return run

    monkeypatch.setattr(scaling, "make_run", make)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr("time.process_time", lambda: worked[0])
    return seen


def test_all_programs_of_a_group_take_the_same_batch_and_spans(configs):
    scaling.measure(TINY, 2)
    assert [config.global_batch for config in configs] == [8] * 4
    assert [config.model.bn_span for config in configs] == [4] * 4
    assert [config.devices for config in configs] == [1, 2, 2, 2]
    assert [config.backend for config in configs] == ["jit", *scaling.BACKENDS]


def test_overhead_is_over_one_device_with_the_same_batch(configs):
    rows = scaling.measure(TINY, 2)
    overheads = {row["program"]: row["overhead"]["values"] for row in rows}
    assert overheads == {
        scaling.ONE_DEVICE: [1.0, 1.0],
        "jit": [3.0, 3.0],
        "shard_map": [2.0, 2.0],
        "pmap": [4.0, 4.0],
    }
    assert all(row["core_overhead"]["values"] == [1.0, 1.0] for row in rows)
    assert all(row["core_seconds"]["median"] == 2.0 for row in rows)


@pytest.mark.slow
def test_a_run_takes_steps_over_two_devices():
    times = Times(2)
    times.measure(scaling.make_run(scaling.step_config(TINY, "pmap", 2, 8)))
    assert min(*times.clock, *times.cores) > 0


def test_figure_divides_by_devices_and_the_time_of_a_share():
    def row(program: str, devices: int, *seconds: float) -> dict[str, Any]:
        named = dict(zip(("lowest", "median", "highest"), seconds, strict=True))
        return {"program": program, "devices": devices, "core_seconds": named}

    rows = [row("one device", 1, 2.0, 2.0, 2.0), row("one device", 4, 7.0, 8.0, 9.0)]
    rows += [row("jit", 1, 2.0, 2.0, 3.0), row("jit", 4, 10.0, 12.0, 16.0)]
    axes = scaling.scaling_figure(rows).axes[0]
    drawn = [bars.lines[0].get_ydata().tolist() for bars in axes.containers]
    assert drawn == [[1.0, 1.0], [1.0, 1.5]]
    assert axes.get_xticks().tolist() == [1, 4]
