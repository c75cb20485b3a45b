"""What the package costs over what it depends on: in its loop, and to import.

    python -m benchmarks.throughput.overhead

The loop is `Trainer.fit` with metrics logged at every step, against the same compiled
steps in a bare loop that waits as often as it must on a CPU.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import tyro

from benchmarks.common.records import mean_sd, write_record
from experiments.lars.presets import get_preset
from experiments.lars.trainer import Trainer
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields
from lars_jax.train.loop import MAX_IN_FLIGHT

COMMAND = "python -m benchmarks.throughput.overhead"


def bare_loop(trainer: Trainer, batches: list[Any]) -> float:
    """Return the time of the compiled steps alone, batches already on the device."""
    state = trainer.init()
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


def fit_loop(trainer: Trainer) -> float:
    """Return the time of the same steps through `fit`, every step logged."""
    state = trainer.init()
    jax.block_until_ready(state)
    rows: list[Any] = []
    started = time.perf_counter()
    state, _ = trainer.fit(state, on_metrics=lambda step, row: rows.append(row))
    jax.block_until_ready(state)
    return time.perf_counter() - started


def fresh_process(statement: str) -> float:
    """Return the time of a process that runs one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def record(
    name: str,
    over: Callable[[], float],
    under: Callable[[], float],
    pairs: int,
    **content: Any,
) -> None:
    """Time pairs, the first of which does not count, and write their record."""
    seconds = [(over(), under()) for _ in range(pairs + 1)][1:]
    ratios = [a / b for a, b in seconds]
    mean, sd = mean_sd(ratios)
    median = statistics.median(ratios)
    print(f"{name}: median {median:.3f}, mean {mean:.3f}, sd {sd:.3f}", flush=True)
    print(write_record(name, COMMAND, ratios=ratios, seconds=seconds, **content))


def main(
    preset: str = "digits", steps: int = 200, loops: int = 7, imports: int = 11
) -> None:
    """Write `records/loop_overhead.json` and `records/import_time.json`.

    Args:
        preset: what to train.
        steps: steps of each loop.
        loops: pairs of loops counted, after one that is not.
        imports: pairs of imports counted, after one that is not.
    """
    config = get_preset(preset).config
    config = replace_fields(config, steps=steps, log_every=1, devices=1)
    trainer = Trainer.create(config)
    batches = list(
        trainer.inputs.train_batches(start=0, stop=steps, seed=0, interrupt=Interrupt())
    )
    record(
        "loop_overhead",
        lambda: fit_loop(trainer),
        lambda: bare_loop(trainer, batches),
        loops,
        preset=preset,
        steps=steps,
    )
    record(
        "import_time",
        lambda: fresh_process("import lars_jax"),
        lambda: fresh_process("import jax, optax"),
        imports,
    )


if __name__ == "__main__":
    tyro.cli(main)
