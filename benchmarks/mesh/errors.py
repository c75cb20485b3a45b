"""How far a run on a mesh, in parts, is from the run of whole batches on one device.

    python -m benchmarks.mesh.errors

A small network takes twenty steps in every way that there is, with SGD and with LARS:
LARS forgives a gradient that is N times too large, SGD does not. An error is the
largest difference of a parameter or of a running statistic after the last step,
relative to how far its leaf has moved.
"""

import itertools
import json
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import linen as nn

from benchmarks.common.errors import largest_error
from benchmarks.common.processes import Local
from benchmarks.common.records import write_record
from lars_jax import TrainState, lars
from lars_jax.models import BatchNorm, from_linen, merge_running
from lars_jax.models.layers import Dropout
from lars_jax.train import (
    DataParallel,
    StateSharding,
    data_mesh,
    gathered,
    parameter_shardings,
    state_shardings,
    update,
)
from lars_jax.train.cluster import find_cluster
from lars_jax.train.parallel import Backend
from lars_jax.train.processes import join

BATCH, FEATURES, CLASSES, STEPS = 128, 16, 4, 20
DEVICES, MICROBATCHES, PROCESSES = (1, 2, 4, 8), (1, 4, 16), (2, 4)
# Of two examples normalisation leaves nothing but a sign, and hardly a gradient.
SPANS = (4, 8, None)
OPTIMIZERS = {"sgd": optax.sgd(0.05, momentum=0.9), "lars": lars(2.0, 1e-4)}

References = dict[tuple[str, int | None], tuple[Any, Any]]
"""What one device makes of each optimizer and span: before and after all steps."""


@dataclass(frozen=True)
class Case:
    """One way to take the same steps."""

    optimizer: str
    span: int | None
    backend: Backend = "jit"
    devices: int = 1
    microbatches: int = 1
    state_sharding: StateSharding = "none"
    processes: int = 1

    @property
    def possible(self) -> bool:
        """Whether the parts hold whole spans, where the back-end needs them."""
        share, rest = divmod(BATCH, self.devices * self.microbatches)
        if self.span is None:
            # Without a span each micro-batch is normalised by itself.
            return self.microbatches == 1
        alone = self.backend == "jit" or self.microbatches == 1
        return not rest and (alone or share % self.span == 0)


class Network(nn.Module):
    """Two linear layers with all between them that might depend on a mesh."""

    span: int | None
    axis_name: str | None

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, examples: jax.Array | None = None
    ) -> jax.Array:
        """Return logits [B, CLASSES] of `x` [B, FEATURES]."""
        norm = BatchNorm(span=self.span, axis_name=self.axis_name)
        # No bias: normalisation takes it out again, and only rounding would move it.
        x = nn.relu(norm(nn.Dense(32, use_bias=False)(x), train=train))
        return nn.Dense(CLASSES)(Dropout(0.5)(x, examples, train=train))


def trained(case: Case) -> tuple[Any, Any]:
    """Return parameters and running statistics before and after all steps."""
    parallel = DataParallel(data_mesh(case.devices), case.backend)
    network = from_linen(Network(case.span, parallel.axis_name))
    alone = from_linen(Network(case.span, None))
    tx = OPTIMIZERS[case.optimizer]
    params, model_state = alone.init(jax.random.key(0), jnp.zeros((1, FEATURES)))
    start = jax.device_get((params, model_state))
    state = TrainState.create(params, model_state, tx)
    # The network is small: every leaf that can be is split.
    gradients = parameter_shardings(params, parallel.mesh, smallest=1)
    split = case.state_sharding != "none"
    shardings = state_shardings(state, parallel.mesh, case.state_sharding, smallest=1)

    def step(state: TrainState, batch: Any, shared: Any) -> Any:
        key = jax.random.fold_in(shared["key"], state.step)
        dropping = jax.random.fold_in(key, 0)

        def loss_fn(params: Any, model_state: Any, part: Any, key: jax.Array) -> Any:
            del key
            logits, model_state = network.apply(
                params,
                model_state,
                part["x"],
                train=True,
                key=dropping,
                examples=part["index"],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, part["y"])
            return jnp.mean(losses), (model_state, {})

        return update(
            gathered(loss_fn, gradients) if split else loss_fn,
            tx,
            state,
            batch,
            key,
            microbatches=case.microbatches,
            unit=case.span or 1,
            merge=merge_running,
            axis_name=parallel.axis_name,
        )

    state = jax.device_put(state, shardings) if split else parallel.replicate(state)
    shared = parallel.replicate({"key": jax.random.key(1)})
    compiled = parallel.compile(step, shardings if split else None)
    rows = parallel.local_rows(BATCH)
    for number in range(STEPS):
        batch = {name: x[rows] for name, x in _batch(number).items()}
        state, _ = compiled(state, parallel.shard_batch(batch), shared)
        jax.block_until_ready(state)
    return start, jax.device_get((state.params, state.model_state))


def measured(cases: Iterable[Case], references: References) -> Iterator[dict[str, Any]]:
    """Yield each case that is possible, with its error against the one-device run."""
    for case in cases:
        if case.possible:
            start, expected = references[case.optimizer, case.span]
            _, found = trained(case)
            yield asdict(case) | {"error": largest_error(found, expected, start)}


def cases(devices: Iterable[int], processes: int = 1) -> Iterator[Case]:
    """Yield every case on these numbers of devices."""
    places = itertools.product(
        OPTIMIZERS, SPANS, get_args(Backend), devices, MICROBATCHES
    )
    for place in places:
        yield Case(*place, processes=processes)


def main(
    references: Path | None = None,
    rows: Path | None = None,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Measure all and write `records/mesh_errors.json`.

    Args:
        references: what one device makes, where this is one process of several.
        rows: where the first of them writes what they found.
        coordinator: address of the first.
        num_processes: number of processes.
        process_id: number of this one.
    """
    if references and rows:
        cluster = find_cluster(
            {},
            coordinator=coordinator,
            num_processes=num_processes,
            process_id=process_id,
        )
        assert cluster is not None
        processes = join(cluster)
        count = jax.process_count()
        known = pickle.loads(references.read_bytes())
        found = list(measured(cases((count,), count), known))
        if processes.writes:
            rows.write_text(json.dumps(found))
        processes.leave(0, agreed=True)
        return
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    pairs = list(itertools.product(OPTIMIZERS, SPANS))
    alone: References = {pair: trained(Case(*pair)) for pair in pairs}
    found = list(measured(cases(DEVICES), alone))
    print(f"one process: worst {max(row['error'] for row in found):.1e}", flush=True)
    for count in PROCESSES:
        own = in_processes(count, alone)
        print(f"{count}: worst {max(row['error'] for row in own):.1e}", flush=True)
        found += own
    command = "python -m benchmarks.mesh.errors"
    print(write_record("mesh_errors", command, steps=STEPS, batch=BATCH, rows=found))


def in_processes(count: int, references: References) -> list[dict[str, Any]]:
    """Return the rows of several processes on this machine, a device each."""
    with tempfile.TemporaryDirectory() as scratch:
        given, rows = Path(scratch) / "references", Path(scratch) / "rows.json"
        given.write_bytes(pickle.dumps(references))
        words = ["--references", str(given), "--rows", str(rows)]
        module = "benchmarks.mesh.errors"
        local = Local(count, Path(scratch), *words, module=module, seconds=3600)
        local.end(*[0] * count)
        return json.loads(rows.read_text())


def _batch(number: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    return {
        "x": random.normal(size=(BATCH, FEATURES)).astype(np.float32),
        "y": random.integers(CLASSES, size=BATCH).astype(np.int32),
        "index": random.permutation(BATCH).astype(np.int32),
    }


if __name__ == "__main__":
    tyro.cli(main)
