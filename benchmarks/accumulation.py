"""What it costs to take a batch in parts: one step against the sum of its micro-steps.

    python -m benchmarks.accumulation

A step of m micro-batches is timed against the same work without accumulation: m times
forward and backward of one micro-batch, compiled alone, and one update by the
optimizer. Both in turn, round by round, on one device, with a micro-batch of fixed
size: ResNet-20 on images like CIFAR-10's, ResNet-8 on images like the digits. The
temporaries of the compiled step say whether memory grows with m.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.records import write_record
from benchmarks.rounds import Run, Summary, alternate, ratios, steps_for
from experiments.lars.config import Config, replace
from experiments.lars.optimizer import make_optimizer
from experiments.lars.presets import get_preset
from experiments.lars.program import (
    ImageFacts,
    build_train_step,
    make_loss,
    make_network,
)
from experiments.lars.shapes import assumed_facts, fed_shape
from lars_jax.cpu import COMPILER_OPTIONS
from lars_jax.train import DataParallel, TrainState, data_mesh

PARTS = (1, 4, 16, 64)
CASES = {"resnet20": ("cifar10_resnet20_128", 32), "resnet8": ("digits", 64)}
"""Preset and micro-batch of each network."""

ROUNDS, ROUND_SECONDS = 7, 0.7
COMMAND = "python -m benchmarks.accumulation"


@dataclasses.dataclass(frozen=True)
class Case:
    """One network and one number of parts, with all that its programs are given."""

    config: Config
    facts: ImageFacts
    state: TrainState
    batch: dict[str, jax.Array]
    shared: dict[str, jax.Array]


def case(preset: str, micro_batch: int, parts: int) -> Case:
    """Return a case with random images, on the device."""
    config = replace(
        get_preset(preset).config,
        global_batch=parts * micro_batch,
        microbatches=parts,
        bn_span=micro_batch,
    )
    facts, count = assumed_facts(config), parts * micro_batch
    random = np.random.default_rng(0)
    image = fed_shape(config.data, facts)
    batch = {
        "image": random.integers(0, 256, (count, *image)).astype(np.uint8),
        "label": random.integers(facts.num_classes, size=count).astype(np.int32),
        "index": np.arange(count, dtype=np.int32),
        "epoch": np.zeros(count, np.int32),
    }
    network = make_network(config, facts)
    params, model_state = network.init(jax.random.key(0), jnp.zeros((2, *image)))
    tx = make_optimizer(config.optimizer, total_steps=1000, steps_per_epoch=100.0)
    state = TrainState.create(params, model_state, tx)
    shared = {"key": jax.random.key(1)}
    return Case(config, facts, state, jax.device_put(batch), shared)


def whole(found: Case) -> tuple[Run, int]:
    """Return the run of accumulating steps, and the bytes of their temporaries."""
    parallel = DataParallel(data_mesh(1))
    step: Any = build_train_step(found.config, found.facts, parallel)
    arguments = found.batch, found.shared
    compiled = step.lower(found.state, *arguments).compile()
    state = parallel.replicate(jax.tree.map(lambda x: x.copy(), found.state))

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = compiled(state, *arguments)
            jax.block_until_ready(state)

    return run, compiled.memory_analysis().temp_size_in_bytes


def apart(found: Case, micro_batch: int) -> Run:
    """Return the run of the same steps, each micro-batch a program of its own."""
    config, facts, state = found.config, found.facts, found.state
    network = make_network(config, facts)
    tx = make_optimizer(config.optimizer, total_steps=1, steps_per_epoch=1.0)
    compiled = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)

    @compiled
    def backward(state: TrainState, part: Any, shared: Any) -> Any:
        loss = make_loss(config, facts, network, shared, shared["key"])
        grad = jax.value_and_grad(loss, has_aux=True)
        return grad(state.params, state.model_state, part, shared["key"])

    @functools.partial(compiled, donate_argnums=0)
    def apply(state: TrainState, gradients: Any) -> TrainState:
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, state.model_state, opt_state)

    parts = list(_parts(found.batch, micro_batch))
    state = jax.tree.map(lambda x: x.copy(), state)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            for part in parts:
                _, gradients = backward(state, part, found.shared)
            state = apply(state, gradients)
            jax.block_until_ready(state)

    return run


def row(network: str, parts: int) -> dict[str, Any]:
    """Return seconds and ratio of one number of parts, and the step's temporaries."""
    preset, micro_batch = CASES[network]
    found = case(preset, micro_batch, parts)
    step, temporaries = whole(found)
    runs: dict[str, Callable[[int], object]] = {
        "step": step,
        "apart": apart(found, micro_batch),
    }
    counts = {
        name: steps_for(run, ROUND_SECONDS, trial=1) for name, run in runs.items()
    }
    taken = alternate(runs, counts, ROUNDS)
    return {
        "network": network,
        "microbatch": micro_batch,
        "microbatches": parts,
        "step_seconds": dataclasses.asdict(Summary.of(taken["step"])),
        "apart_seconds": dataclasses.asdict(Summary.of(taken["apart"])),
        "ratio": dataclasses.asdict(Summary.of(ratios(taken["step"], taken["apart"]))),
        "temporary_bytes": temporaries,
    }


def main() -> None:
    """Measure all and write `records/accumulation.json`."""
    rows = []
    for network in CASES:
        for parts in PARTS:
            rows.append(row(network, parts))
            ratio, size = rows[-1]["ratio"], rows[-1]["temporary_bytes"]
            spread = f"{ratio['lowest']:.3f} to {ratio['highest']:.3f}"
            print(
                f"{network} in {parts}: {ratio['median']:.3f} ({spread}), {size} bytes",
                flush=True,
            )
    print(write_record("accumulation", COMMAND, rounds=ROUNDS, rows=rows))


def _parts(batch: dict[str, jax.Array], size: int) -> Iterator[dict[str, jax.Array]]:
    count = len(batch["index"])
    for start in range(0, count, size):
        yield {name: x[start : start + size] for name, x in batch.items()}


if __name__ == "__main__":
    main()
