"""The verb `compile`: a preset's training step, compiled for devices that are not here.

The compiler runs in a process of its own, since one that crashes would take along
whoever asked.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import jax
import tyro

from lars_jax.compiler.account import account
from lars_jax.compiler.targets import Target, find_target, quiet_environment
from lars_jax.compiler.verdict import describe
from lars_jax.errors import InputError
from lars_jax.files import replacing
from lars_jax.runs.checks import Positive
from lars_jax.runs.experiment import Experiment
from lars_jax.runs.paths import absolute_paths
from lars_jax.runs.presets import Preset, heading
from lars_jax.train.parallel import mesh_over

C = TypeVar("C")

INNER = "LARS_JAX_COMPILE"
"""Is set in the environment of the process that compiles."""

LEAST_EFFORT = -1.0
"""JAX's lowest effort at a fast program."""


@dataclass(frozen=True)
class Compile(Generic[C]):
    """Compile the training step of a preset for devices that need not be here."""

    config: Annotated[C, tyro.conf.arg(name="")]
    topology: str = "v5e:2x2"
    """Devices to compile for: KIND:SIDES of TPUs, such as v5e:16x16 or v5p:4x4x4, or
    h100, or h100:8 for as many in a machine."""
    slices: Positive = 1
    """How many of these, joined by a network."""
    quick: bool = False
    """Compile with little effort: memory is then an upper guess, bytes and times mean
    nothing."""
    save: Path | None = None
    """File for the compiled step: a pickle of what `deserialize_and_load` of
    `jax.experimental.serialize_executable` takes, on such devices."""


def compile_preset(
    experiment: Experiment[Any],
    preset: Preset[Any] | None,
    asked: Compile[Any],
    words: Sequence[str],
) -> int:
    """Compile as asked, in a process of its own, and print what there is to say.

    Args:
        experiment: whose step.
        preset: it began with, to be named first; None: it is named already.
        asked: what the words say.
        words: what followed the verb, which that process is given again.

    Returns:
        The exit status.

    Raises:
        InputError: a configuration that cannot run, devices that there are not, or a
            compiler that is missing, that refuses the step or that crashed.
    """
    config = experiment.check(absolute_paths(asked.config))
    if INNER in os.environ:
        target = find_target(asked.topology, asked.slices)
        for line in _compiled(experiment, config, asked, target):
            print(line, flush=True)
        return 0
    if preset is not None:
        print("\n".join(heading(preset)), flush=True)
    command = [*experiment.command.split()[1:], "compile", *words]
    environment = quiet_environment() | {INNER: "1"}
    found = subprocess.run([sys.executable, *command], env=environment, check=False)
    if found.returncode < 0:
        name = signal.Signals(-found.returncode).name
        raise InputError(
            f"the compiler for {asked.topology} must end by itself; it ended by "
            f"{name}: try --quick, or another topology"
        )
    return found.returncode


def _compiled(
    experiment: Experiment[Any], config: Any, asked: Compile[Any], target: Target
) -> Iterator[str]:
    assert experiment.compile is not None, "there is no such verb without it"
    if asked.quick:
        jax.config.update("jax_exec_time_optimization_effort", LEAST_EFFORT)
    started = time.perf_counter()
    try:
        mesh = mesh_over(target.devices)
        cut, step = experiment.compile(config, mesh, target.memory)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"a step must compile for {asked.topology}; its compiler says {reason}: "
            "set --microbatches to more or --global-batch to less, or take more devices"
        ) from error
    taken = time.perf_counter() - started
    slices = "" if asked.slices == 1 else f"{asked.slices} x "
    yield ""
    yield (
        f"{slices}{target.name}: {len(target.devices)} devices, "
        f"{target.devices[0].device_kind}; traced and compiled in "
        f"{taken:.0f} s{', with little effort' if asked.quick else ''}"
    )
    if cut:
        yield cut
    yield from describe(account(step, len(target.devices)), target)
    if asked.slices > 1:
        yield "what passes between slices is counted as if it went by their links"
    if asked.save is not None:
        from jax.experimental import serialize_executable

        data = pickle.dumps(serialize_executable.serialize(step))
        with replacing(asked.save) as temporary:
            temporary.write_bytes(data)
        yield f"{len(data) / 1e6:,.1f} MB in {asked.save}"
