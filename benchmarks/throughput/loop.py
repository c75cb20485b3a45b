"""What the host loop costs: wall time of `fit` over that of its compiled steps alone.

    python -m benchmarks.throughput.loop

Both sides run the same compiled step on the same batches, in turn, on digits: one
through `Trainer.fit` with metrics logged at every step, the other in a bare loop that
waits once in eight steps, as it must on a CPU. The ratio is taken pair by pair.
"""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import jax
import tyro

from benchmarks.common.records import mean_sd, write_record
from experiments.lars.config import replace
from experiments.lars.presets import get_preset
from experiments.lars.trainer import Trainer
from lars_jax.train import Interrupt
from lars_jax.train.loop import MAX_IN_FLIGHT


@dataclass(frozen=True)
class Overhead:
    """Pairs of loops over the same steps."""

    preset: str = "digits"
    """What to train."""
    steps: int = 200
    """Steps of each loop."""
    rounds: int = 7
    """Pairs counted, after one that is not."""


def bare_seconds(trainer: Trainer, batches: list[Any]) -> float:
    """Return the time of the compiled steps alone, batches already on the device."""
    state = trainer.initial_state()
    shared = trainer.inputs.shared(trainer.inputs.train, trainer.config.seed)
    jax.block_until_ready(state)
    started = time.perf_counter()
    metrics: Any = None
    for number, batch in enumerate(batches):
        state, metrics = trainer.program.train_step(state, batch, shared)
        if number % MAX_IN_FLIGHT == 0:
            jax.block_until_ready(metrics)
    jax.block_until_ready((state, metrics))
    return time.perf_counter() - started


def loop_seconds(trainer: Trainer) -> float:
    """Return the time of the same steps through `fit`, every step logged."""
    state = trainer.initial_state()
    jax.block_until_ready(state)
    rows: list[Any] = []
    started = time.perf_counter()
    state, _ = trainer.fit(state, on_metrics=lambda step, row: rows.append(row))
    jax.block_until_ready(state)
    return time.perf_counter() - started


def main(asked: Overhead) -> None:
    """Time the pairs and write `records/loop_overhead.json`."""
    config = replace(
        get_preset(asked.preset).config, steps=asked.steps, log_every=1, devices=1
    )
    trainer = Trainer.create(config)
    batches = list(
        trainer.inputs.train_batches(
            start=0, stop=asked.steps, seed=0, interrupt=Interrupt()
        )
    )
    pairs = [
        (loop_seconds(trainer), bare_seconds(trainer, batches))
        for _ in range(asked.rounds + 1)
    ][1:]
    ratios = [loop / bare for loop, bare in pairs]
    mean, sd = mean_sd(ratios)
    median = statistics.median(ratios)
    print(f"fit over steps alone: median {median:.3f}, mean {mean:.3f}, sd {sd:.3f}")
    command = "python -m benchmarks.throughput.loop"
    content = {"preset": asked.preset, "steps": asked.steps, "seconds": pairs}
    print(write_record("loop_overhead", command, ratios=ratios, **content))


if __name__ == "__main__":
    main(tyro.cli(Overhead))
