"""Images per second of ResNet-20 training on CIFAR-10, beside PyTorch's.

    python -m benchmarks.throughput.cifar10 --batch 128 --breakdown

Our side is the loop of a run with everything that a step does, from the indices of a
batch to the check for values that are not finite. PyTorch's is the same network and
augmentation under SGD with momentum, in the fastest of `torch_networks.VARIANTS`. Both
take turns in this process; the number to read is the ratio, ours over PyTorch's.
"""

import dataclasses
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from benchmarks.common.markdown import Cells
from benchmarks.common.records import (
    device_name,
    machine,
    read_record,
    record_path,
    write_record,
)
from benchmarks.common.rounds import (
    Run,
    Times,
    alternate,
    ratios,
    steps_for,
    summary,
)
from benchmarks.throughput.breakdown import breakdown
from experiments.lars.inputs import Inputs, Split
from experiments.lars.presets import get_preset
from experiments.lars.program import build_program
from experiments.lars.shapes import assumed_facts
from experiments.lars.trainer import Trainer
from lars_jax.data import ArraySource, load_source, to_arrays
from lars_jax.errors import InputError
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields
from lars_jax.train.record import environment

COMMAND = "python -m benchmarks.throughput.cifar10"
NETWORK, CLASSES = "resnet20", 10
OURS, THEIRS = "lars_jax", "torch"

SUMMARY = (
    "{network}, batch {batch}, {dtype}, {images}, on {environment[device_kind]} "
    "({machine}): {images_per_second[lars_jax]:.0f all} images/s"
)
TORCH = (
    "torch, {torch[variant]}: {images_per_second[torch]:.0f all} images/s; "
    "ratio, ours over torch's: {ratio:.2f all}"
)
PART = "{name}: {share:.3f all} of a step, {seconds:.2f ms} ms"
"""What is printed of a row, beside torch, and of each part of a step."""


@dataclass(frozen=True)
class Settings:
    """Images per second of a CIFAR-10 training step, ours and PyTorch's."""

    batch: int = 128
    """Examples per step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations and products; parameters stay float32."""
    optimizer: Literal["lars", "sgd"] = "lars"
    """Our optimizer; PyTorch's is SGD."""
    rounds: int = 7
    """Alternating rounds of each side."""
    round_seconds: float = 3.0
    """About how long one round of one side takes."""
    torch: bool = True
    """Time PyTorch as well, where it is installed."""
    breakdown: bool = False
    """Time the parts of our step as well."""


def main() -> None:
    """Measure as the command line says, print a table, and add to the record."""
    settings = tyro.cli(Settings, description=__doc__)
    row = measure(settings)
    print(describe(row))
    print(f"record: {save(settings, row)}")


def measure(settings: Settings, source: ArraySource | None = None) -> dict[str, Any]:
    """Return what one configuration reaches, as a row of the record.

    Args:
        settings: what to measure.
        source: images to train on; None: CIFAR-10, or noise of its shape.
    """
    # JAX would otherwise take most of a GPU's memory before torch gets any.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # OpenMP's threads would otherwise spin at each barrier: where anything else runs
    # on the cores, ours included, torch then trains at a tenth of its speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    load = os.getloadavg()[0]
    source = cifar10_or_noise() if source is None else source
    trainer = our_trainer(settings, source)
    runs: dict[str, Run] = {OURS: our_run(trainer)}
    torch_facts: dict[str, Any] = {}
    if settings.torch:
        training, torch_facts = fastest_torch(settings, trainer, source)
        runs |= {THEIRS: training.run} if training else {}
    taken = alternate(runs, rounds=settings.rounds, target=settings.round_seconds)
    speed = {
        name: [settings.batch / seconds for seconds in times.clock]
        for name, times in taken.items()
    }
    row = {
        "network": NETWORK,
        "batch": settings.batch,
        "dtype": settings.dtype,
        "images": source.name,
        "images_per_second": {name: summary(speed[name]) for name in speed},
        "steps_per_round": {name: times.steps for name, times in taken.items()},
        "torch": torch_facts,
        "config": dataclasses.asdict(trainer.config),
        "load_before": load,
        "environment": environment(),
    }
    if THEIRS in speed:
        row["ratio"] = summary(ratios(speed[OURS], speed[THEIRS]))
    if settings.breakdown:
        target = settings.round_seconds / 3
        row["breakdown"] = breakdown(trainer, rounds=settings.rounds, target=target)
    return row


def our_trainer(settings: Settings, source: ArraySource) -> Trainer:
    """Return a trainer on one device whose data set is there already."""
    config = replace_fields(
        get_preset("cifar10_resnet20_128").config,
        global_batch=settings.batch,
        microbatches=1,
        dtype=settings.dtype,
        optimizer=settings.optimizer,
        devices=1,
        log_every=100_000,
    )
    facts = assumed_facts(config)
    parallel = DataParallel(data_mesh(config.devices), config.backend)
    placed = {"image": source.image, "label": source.label}
    split = Split(source, parallel.replicate(placed))
    inputs = Inputs(config, parallel, facts, source.class_names, split, split)
    return Trainer(config, inputs, build_program(config, facts, parallel))


def our_run(trainer: Trainer) -> Run:
    """Return our training loop, which goes on where it was whenever it is run."""
    state = trainer.init()

    def run(steps: int) -> None:
        nonlocal state
        config = dataclasses.replace(trainer.config, steps=steps)
        inputs = dataclasses.replace(trainer.inputs, config=config)
        # The same program with another length, so nothing is compiled again.
        state, _ = dataclasses.replace(trainer, inputs=inputs).fit(state)
        jax.block_until_ready(state)

    return run


def fastest_torch(
    settings: Settings, trainer: Trainer, source: ArraySource
) -> tuple[Any, dict[str, Any]]:
    """Return PyTorch's training in its fastest variant, and what was tried.

    Returns:
        The training, or None where there is no torch; and for the record the version,
        the device, and images per second of each variant in a short trial.
    """
    try:
        from benchmarks.throughput import torch_networks as networks
    except (ImportError, OSError) as error:
        print(f"torch cannot be imported ({error}): timing our side alone")
        return None, {"skipped": str(error)}
    networks.allow_tensor_cores()
    device, facts = networks.device(), trainer.inputs.facts
    make = partial(
        networks.Training,
        (source.image, source.label),
        (facts.mean, facts.std),
        batch=settings.batch,
        classes=facts.num_classes,
        dtype=settings.dtype,
    )
    trials = {name: _trial(make, name, settings) for name in networks.VARIANTS[device]}
    speeds = {name: speed for name, (_, speed) in trials.items()}
    best = max(speeds, key=lambda name: speeds[name])
    training = trials[best][0]
    if training is None:
        raise RuntimeError(f"no variant of the PyTorch step ran: {speeds}")
    params = trainer.like().params
    ours = sum(leaf.size for leaf in jax.tree.leaves(params))
    if ours != training.parameters:
        raise RuntimeError(
            f"both networks must be the same; ours has {ours} parameters, PyTorch's "
            f"{training.parameters}"
        )
    return training, {
        "version": networks.torch.__version__,
        "device": device,
        "variant": best,
        "trial_images_per_second": speeds,
    }


def _trial(make: Any, variant: str, settings: Settings) -> tuple[Any, float]:
    """Return a training in one variant and its speed; None and 0 if it fails."""
    try:
        training = make(variant=variant)
        steps = steps_for(training.run, settings.round_seconds)
        times = Times(steps)
        times.measure(training.run)
        return training, settings.batch / times.clock[0]
    except Exception as error:  # Whatever a compiler that does not work here raises.
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        print(f"torch, {variant}: does not run here ({reason})")
        return None, 0.0


def cifar10_or_noise() -> ArraySource:
    """Return CIFAR-10's training images, or as many random ones where it is absent."""
    try:
        source = load_source("cifar10", "train")
    except InputError as error:
        print(f"noise in place of CIFAR-10, which does not change the speed: {error}")
        return noise(50_000)
    arrays = to_arrays(source)
    return ArraySource("cifar10", source.class_names, arrays.image, arrays.label)


def noise(count: int) -> ArraySource:
    """Return random images of the shape of CIFAR-10's."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = rng.integers(0, CLASSES, count, np.int32)
    names = tuple(f"class {number}" for number in range(CLASSES))
    return ArraySource("noise", names, images, labels)


def save(settings: Settings, row: dict[str, Any]) -> Path:
    """Put a row into the device's record, in place of its last, and return the path."""
    name = f"cifar10_throughput_{device_name()}"
    rows = read_record(name)["rows"] if record_path(name).exists() else {}
    key = f"{NETWORK}_{settings.batch}_{settings.dtype}_{settings.optimizer}"
    return write_record(name, COMMAND, rows=rows | {key: row})


def describe(row: dict[str, Any]) -> str:
    """Return a row of the record as lines to read."""
    form = Cells().format
    lines = [form(SUMMARY, machine=machine(), **row)]
    lines += [form(TORCH, **row)] if "ratio" in row else []
    parts = row.get("breakdown", {}).items()
    return "\n".join(lines + [form(PART, name=name, **part) for name, part in parts])


if __name__ == "__main__":
    main()
