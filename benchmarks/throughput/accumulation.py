"""What it costs to take a batch in parts: one step against the sum of its micro-steps.

    python -m benchmarks.throughput.accumulation

A step of m micro-batches is timed against the same work without accumulation: m times
forward and backward of one micro-batch, compiled alone, and one update. The temporaries
of the compiled step say whether memory grows with m.
"""

import functools
from typing import Any

import jax
import optax

from benchmarks.common.records import write_record
from benchmarks.common.rounds import Run, compare, repeat
from benchmarks.common.steps import MeshStep
from experiments.lars.optimizer import make_optimizer
from experiments.lars.presets import get_preset
from experiments.lars.program import make_loss
from experiments.lars.shapes import assumed_facts
from lars_jax.cpu import COMPILER_OPTIONS
from lars_jax.train import TrainState
from lars_jax.train.config import replace_fields

PARTS = (1, 4, 16, 64)
CASES = {"resnet20": ("cifar10_resnet20_128", 32), "resnet8": ("digits", 64)}
"""Preset and micro-batch of each network."""

ROUNDS, ROUND_SECONDS = 7, 0.7
COMMAND = "python -m benchmarks.throughput.accumulation"


def made(preset: str, micro_batch: int, parts: int) -> MeshStep:
    """Return the step of a preset that takes so many parts on one device."""
    config = replace_fields(
        get_preset(preset).config,
        global_batch=parts * micro_batch,
        microbatches=parts,
        bn_span=micro_batch,
        devices=1,
    )
    return MeshStep.create(config, assumed_facts(config))


def whole(found: MeshStep) -> tuple[Run, int]:
    """Return the run of accumulating steps, and the bytes of their temporaries."""
    arguments = jax.device_put(found.noise()), {"key": jax.random.key(1)}
    state = found.parallel.replicate(found.initial_state())
    compiled = found.step.lower(state, *arguments).compile()
    run = repeat(lambda state: compiled(state, *arguments)[0], state, each=True)
    return run, compiled.memory_analysis().temp_size_in_bytes


def apart(found: MeshStep, micro_batch: int) -> Run:
    """Return the run of the same steps, each micro-batch a program of its own."""
    shared = {"key": jax.random.key(1)}
    # Of this optimizer only the rules are used: its numbers are in the state.
    tx = make_optimizer(found.config.optimizer, total_steps=1, steps_per_epoch=1.0)
    compiled = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)

    @compiled
    def backward(state: TrainState, part: Any, shared: Any) -> Any:
        key = shared["key"]
        loss = make_loss(found.config, found.facts, found.network, shared, key)
        grad = jax.value_and_grad(loss, has_aux=True)
        return grad(state.params, state.model_state, part, key)

    @functools.partial(compiled, donate_argnums=0)
    def apply(state: TrainState, gradients: Any) -> TrainState:
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, state.model_state, opt_state)

    batch, state = jax.device_put(found.noise()), found.initial_state()
    parts = [
        {name: x[start : start + micro_batch] for name, x in batch.items()}
        for start in range(0, found.config.global_batch, micro_batch)
    ]

    def step(state: TrainState) -> TrainState:
        for part in parts:
            _, gradients = backward(state, part, shared)
        return apply(state, gradients)

    return repeat(step, state, each=True)


def row(network: str, parts: int) -> dict[str, Any]:
    """Return seconds and ratio of one number of parts, and the step's temporaries."""
    preset, micro_batch = CASES[network]
    found = made(preset, micro_batch, parts)
    step, temporaries = whole(found)
    over, under, ratio = compare(
        step, apart(found, micro_batch), rounds=ROUNDS, target=ROUND_SECONDS, trial=1
    )
    return {
        "network": network,
        "microbatch": micro_batch,
        "microbatches": parts,
        "step_seconds": over,
        "apart_seconds": under,
        "ratio": ratio,
        "temporary_bytes": temporaries,
    }


def main() -> None:
    """Measure all and write `records/accumulation.json`."""
    rows = []
    for network in CASES:
        for parts in PARTS:
            rows.append(row(network, parts))
            ratio, size = rows[-1]["ratio"]["median"], rows[-1]["temporary_bytes"]
            print(f"{network} in {parts}: {ratio:.3f}, {size} bytes", flush=True)
    print(write_record("accumulation", COMMAND, rounds=ROUNDS, rows=rows))


if __name__ == "__main__":
    main()
