"""What steps cost accelerators that are not here, by their own compilers.

    python -m benchmarks.compilers.steps --record

It needs the extras `aot-tpu` and `aot-cuda`. A row is one program on one target,
compiled at full effort in a process of its own, since a compiler that crashes would
take along whoever asked. What the record has of the same compilers stays; `--only`
compiles some programs anew. Nothing is timed but the compilation.
"""

import dataclasses
import importlib.metadata
import json
import subprocess
import sys
import time
from typing import Any

import jax
import optax
import tyro
from jax.sharding import AbstractMesh, SingleDeviceSharding

from benchmarks.common.processes import ROOT
from benchmarks.common.records import read_record, record_path, write_record
from experiments.lars.ahead import assumed_data
from experiments.lars.experiment import LARS
from experiments.lars.microbatches import with_microbatches
from experiments.lars.presets import get_preset
from experiments.lars.program import state_shapes
from experiments.lars.shapes import assumed_facts, device_bytes
from experiments.mgan.experiment import MGAN
from lars_jax import lars
from lars_jax.compiler.account import account
from lars_jax.compiler.targets import Target, find_target, quiet_environment
from lars_jax.compiler.verdict import roofline, warnings
from lars_jax.runs import Experiment
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import AXIS, mesh_over

COMMAND = "python -m benchmarks.compilers.steps --record"
NAME = "compiled_steps"
COMPILERS = ("jax", "jaxlib", "libtpu", "jax-cuda13-plugin", "nvidia-cuda-nvcc")
"""Packages that the counts depend on."""

NETWORK = "resnet50_32k_lars"
"""Preset of the network whose parameters the optimizers are given."""

RATE, DECAY = 0.1, 1e-4
OPTIMIZERS = {
    "optax.sgd": optax.sgd(RATE, momentum=0.9),
    "lars": lars(RATE, DECAY),
    "lars, no telemetry": lars(RATE, DECAY, telemetry=False),
    "optax.lars": optax.lars(RATE, DECAY),
}
"""Steps of optimizers alone, by name."""

HALF = {"dtype": "bfloat16"}
SHARED = HALF | {"global_batch": 512}
TRAINING: dict[str, tuple[Experiment[Any], str, dict[str, Any]]] = {
    "digits": (LARS, "digits", {}),
    "MGAN, CIFAR-10": (MGAN, "cifar10", {"steps_per_call": 1}),
    "ResNet-20, batch 512": (LARS, "cifar10_resnet20_128", SHARED),
    "ResNet-20, batch 512, 8 a call": (
        LARS,
        "cifar10_resnet20_128",
        SHARED | {"steps_per_call": 8, "log_every": 8},
    ),
    "ResNet-20, batch 512, zero1": (
        LARS,
        "cifar10_resnet20_128",
        SHARED | {"state_sharding": "zero1"},
    ),
    "AlexNet, batch 512": (LARS, "alexnet_512_lars", HALF),
    "ResNet-50, batch 256": (LARS, NETWORK, HALF | {"global_batch": 256}),
    "ResNet-50, batch 512": (LARS, NETWORK, SHARED),
    "ResNet-50, batch 512, zero1": (
        LARS,
        NETWORK,
        SHARED | {"state_sharding": "zero1"},
    ),
    "ResNet-50, batch 512, fsdp": (LARS, NETWORK, SHARED | {"state_sharding": "fsdp"}),
    "ResNet-50, batch 2,048": (LARS, NETWORK, HALF | {"global_batch": 2048}),
    "ResNet-50, batch 32,768": (LARS, NETWORK, HALF),
    "AlexNet-BN, batch 32,768": (LARS, "alexnet_bn_32k_lars", HALF),
}
"""Training steps by name: an experiment, its preset, and what of it is changed."""

CASES = (
    *((name, topology) for name in OPTIMIZERS for topology in ("h100", "v5e:1x1")),
    ("digits", "h100"),
    ("digits", "v5e:2x2"),
    ("MGAN, CIFAR-10", "h100"),
    ("MGAN, CIFAR-10", "v5e:1x1"),
    ("ResNet-20, batch 512", "h100"),
    ("ResNet-20, batch 512", "v5e:1x1"),
    ("ResNet-20, batch 512, 8 a call", "h100"),
    ("ResNet-20, batch 512, zero1", "v5e:2x2"),
    ("AlexNet, batch 512", "v5e:2x2"),
    ("ResNet-50, batch 256", "h100"),
    ("ResNet-50, batch 512", "v5e:2x2"),
    ("ResNet-50, batch 512, zero1", "v5e:2x2"),
    ("ResNet-50, batch 512, fsdp", "v5e:2x2"),
    ("ResNet-50, batch 2,048", "h100:8"),
    ("AlexNet-BN, batch 32,768", "v5e:16x16"),
    ("ResNet-50, batch 32,768", "v5e:16x16"),
    ("ResNet-50, batch 32,768", "2 x v5e:8x16"),
)
"""Programs and targets, the smallest first; two slices are joined by a network."""


def main(
    record: bool = False,
    only: tuple[str, ...] = (),
    alone: tuple[str, str] | None = None,
) -> None:
    """Compile what the record lacks, and write it after each row if asked.

    Args:
        record: write `records/compiled_steps.json`.
        only: programs to compile, whether or not the record has them.
        alone: program and target to compile in this process, for its row on a line.
    """
    if alone is not None:
        print(json.dumps(compiled(*alone)))
        return
    versions = {name: importlib.metadata.version(name) for name in COMPILERS}
    rows = known(versions)
    for case in CASES:
        if case[0] not in only if only else case in rows:
            continue
        rows[case] = row(*case)
        print(summary(rows[case]), flush=True)
        if record:
            save(rows, versions)
    for case, found in rows.items():
        if "cut" in found and TRAINING[case[0]][0] is LARS:
            rows[case] = found | {"by_shapes": by_shapes(found)}
    if record:
        save(rows, versions)


def save(rows: dict[tuple[str, str], dict[str, Any]], versions: dict[str, str]) -> None:
    """Write the record."""
    found = [rows[case] for case in CASES if case in rows]
    write_record(NAME, COMMAND, compilers=versions, rows=found)


def by_shapes(row: dict[str, Any]) -> int:
    """Return the bytes of a device that `show` gives a compiled step of LARS's."""
    devices, parts = row["devices"], int(row["cut"].split()[0])
    config = get_preset(row["preset"]).config
    config = replace_fields(config, devices=devices, **row["changes"])
    config = with_microbatches(config, parts, devices)
    facts = assumed_facts(config)
    state = state_shapes(config, facts, AbstractMesh((devices,), (AXIS,)))
    data, _ = assumed_data(config, facts)
    return sum(device_bytes(config, facts, state, devices, data).values())


def known(versions: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of the record that the same compilers made without an error."""
    record = read_record(NAME) if record_path(NAME).exists() else {}
    if record.get("compilers") != versions:
        return {}
    return {
        (row["program"], row["topology"]): row
        for row in record["rows"]
        if "error" not in row
    }


def row(program: str, topology: str) -> dict[str, Any]:
    """Return what a program costs a target, or the error that its compiler ended by."""
    command = [sys.executable, "-m", "benchmarks.compilers.steps", "--alone"]
    found = subprocess.run(
        [*command, program, topology],
        cwd=ROOT,
        env=quiet_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    case = {"program": program, "topology": topology}
    if found.returncode:
        said = found.stderr.strip().splitlines() or [""]
        return case | {"error": f"status {found.returncode}: {said[-1]}"}
    return case | json.loads(found.stdout.splitlines()[-1])


def compiled(program: str, topology: str) -> dict[str, Any]:
    """Return the account of a program on a target, compiled in this process."""
    slices, _, name = topology.rpartition(" x ")
    target = find_target(name, int(slices or 1))
    started = time.perf_counter()
    if program in OPTIMIZERS:
        step, more = optimizer_step(OPTIMIZERS[program], target)
    else:
        step, more = training_step(*TRAINING[program], target)
    seconds = time.perf_counter() - started
    found = account(step, len(target.devices))
    return more | {
        "devices": len(target.devices),
        "seconds": seconds,
        **dataclasses.asdict(found),
        "bounds": roofline(found, target),
        "warnings": list(warnings(found, target)),
    }


def optimizer_step(
    tx: optax.GradientTransformation, target: Target
) -> tuple[Any, dict[str, Any]]:
    """Return a donated step of an optimizer on ResNet-50's parameters, and their bytes.

    Args:
        tx: the optimizer.
        target: its first device runs the step.
    """
    config = get_preset(NETWORK).config
    params = state_shapes(config, assumed_facts(config)).params

    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    where = SingleDeviceSharding(target.devices[0])
    given = params, jax.eval_shape(tx.init, params), params
    placed = jax.tree.map(lambda x: x.update(sharding=where), given)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(*placed)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    return lowered.compile(), {"parameter_bytes": size}


def training_step(
    experiment: Experiment[Any], preset: str, changes: dict[str, Any], target: Target
) -> tuple[Any, dict[str, Any]]:
    """Return the training step of a preset as the verb `compile` has it, and a line.

    Args:
        experiment: whose preset.
        preset: its name.
        changes: fields of its configuration that are set.
        target: all of its devices run the step.
    """
    config = replace_fields(experiment.presets[preset].config, **changes)
    assert experiment.compile is not None, "there is no such verb without it"
    mesh = mesh_over(target.devices)
    line, step = experiment.compile(experiment.check(config), mesh, target.memory)
    return step, {"preset": preset, "changes": changes, "cut": line}


def summary(row: dict[str, Any]) -> str:
    """Return a row as a short line."""
    head = f"{row['program']} on {row['topology']}"
    if "error" in row:
        return f"{head}: {row['error']}"
    moved = sum(row["traffic"].values())
    return (
        f"{head}: {sum(row['launches'].values())} launches, {moved / 1e9:.3f} GB, "
        f"{row['seconds']:.0f} s"
    )


if __name__ == "__main__":
    tyro.cli(main)
