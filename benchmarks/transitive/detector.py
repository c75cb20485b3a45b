"""Pictures per second of a detector's training, and where the time goes.

    python -m benchmarks.transitive.detector --dataset voc:DIR --record

All parts take turns in this process, on one batch of pictures that lie. `convolutions`
are their passes forward and backward for given gradients of the features, `gradients`
the whole loss with its derivatives, `step` that with the optimizer, and `reading` what
the host does for a batch: JPEG, size, mirror, padding.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.common.records import write_record
from benchmarks.common.rounds import Run, alternate, repeat, summary
from experiments.transitive.detection.batches import train_batches
from experiments.transitive.detection.config import Dataset
from experiments.transitive.detection.experiment import DETECTION
from experiments.transitive.detection.load import load_pictures, search_in
from experiments.transitive.detection.losses import detector_loss
from experiments.transitive.detection.program import (
    DetectorProgram,
    region_rows,
    train_step,
)
from lars_jax.cpu import COMPILER_OPTIONS
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.interrupt import NEVER

COMMAND = "python -m benchmarks.transitive.detector"
NAME = "detector_throughput"
DETECTORS = ("small_fast", "small_faster")


def main(dataset: Dataset, rounds: int = 5, record: bool = False) -> None:
    """Measure both detectors, and write the record if asked.

    Args:
        dataset: annotated pictures.
        rounds: in which the parts take turns.
        record: write `records/detector_throughput.json`.
    """
    rows = []
    for name in DETECTORS:
        preset = DETECTION.presets[name].config
        config = replace_fields(preset, dataset=dataset, devices=1)
        taken = alternate(parts(config), rounds=rounds, target=2.0)
        seconds = {part: summary(times.clock) for part, times in taken.items()}
        rate = [config.global_batch / s for s in seconds["step"]["values"]]
        said = to_json(replace_fields(config, dataset=preset.data.dataset))
        rows.append(
            {
                "detector": name,
                "seconds": seconds,
                "pictures_per_second": summary(rate),
                "config": said,
            }
        )
        for part, found in seconds.items():
            print(f"{name}: {part} {1e3 * found['median']:.0f} ms")
        print(f"{name}: {rows[-1]['pictures_per_second']['median']:.2f} pictures/s")
    if record:
        print(write_record(NAME, f"{COMMAND} --dataset voc:DIR", runs=rows))


def parts(config: Any) -> dict[str, Run]:
    """Return runs of the parts of a step, by their names."""
    train, test = load_pictures(config).values()
    regions = [search_in(config, split.pictures, NEVER) for split in (train, test)]
    program = DetectorProgram(config, train, test, *regions)
    batches = train_batches(
        program.train,
        program.canvases,
        batch=config.global_batch,
        seed=config.seed,
        start=0,
        stop=10**6,
        rows=np.arange(config.global_batch),
        regions=region_rows(config, train=True),
        flip=config.data.flip,
    )
    lying = (
        batch
        for batch in batches
        if batch["image"].shape[1:3] == program.canvases["lying"]
    )
    batch = program.parallel.shard_batch(next(lying))
    state, key = program.init(), jax.random.key(0)
    detector, params = program.detector, program.init().params
    gradients = jax.eval_shape(
        functools.partial(detector.features, params), batch["image"]
    )
    ones = jnp.ones(gradients.shape, gradients.dtype)

    @functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def convolutions(params: Any, ones: jax.Array) -> Any:
        return jax.vjp(lambda p: detector.features(p, batch["image"]), params)[1](ones)

    @functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def whole(params: Any) -> Any:
        return jax.grad(lambda p: detector_loss(detector, p, batch, key)[0])(params)

    shared = program.parallel.replicate({"key": key})
    step = program.parallel.compile(functools.partial(train_step, detector))

    def read(steps: int) -> None:
        for _ in range(steps):
            next(batches)

    return {
        "reading": read,
        "convolutions": repeat(lambda _: convolutions(params, ones), None),
        "gradients": repeat(lambda _: whole(params), None),
        "step": repeat(lambda state: step(state, batch, shared)[0], state),
    }


if __name__ == "__main__":
    tyro.cli(main)
