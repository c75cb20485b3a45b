"""How many micro-batches: the least number of parts whose compiled step fits a device.

A step on one device needs, in bytes, by the account of its compiler

    arguments + outputs - aliased + temporaries

and beside it lie evaluation data and batches that the loop has sent ahead. A
compilation takes seconds to minutes, so shapes are asked first, and where the whole
batch fits by them nothing is compiled.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.lars.config import Config
from experiments.lars.program import build_train_step, state_shapes
from experiments.lars.shapes import Setting, batch_shapes, residual_bytes, tree_bytes
from lars_jax.errors import InputError
from lars_jax.train import DataParallel
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.config import replace_fields
from lars_jax.train.loop import MAX_IN_FLIGHT

GIB = 2**30

SHARE = 0.9
"""Share of a device's memory that a step may plan with.

The rest is for what no estimate sees: gaps between blocks, buffers of collectives, the
programs themselves.
"""

MARGIN = 1.5
"""Most bytes of temporaries for a byte that differentiation keeps of a micro-batch.

The compiler makes 0.8 of one for ResNet and 1.3 for AlexNet-BN, on CPUs.
"""

MOST_COMPILATIONS = 4
"""Programs compiled at most in search of fewer parts than some that fit."""

NEARLY = 1.1
"""Share of what is allowed up to which a guess is compiled, once something fits."""

QUEUE_BYTES = GIB
"""Bytes of batches, on one device, that the loop may send ahead."""

USUAL_SPAN = 64
"""Ghost batch that an error suggests, or its nearest divisor: MLPerf's least is 35."""


@dataclass(frozen=True)
class Choice:
    """A configuration with its micro-batches and ghost batch as numbers, and why.

    Attributes:
        config: as it will run.
        reason: one line for people.
        train_step: the step, where one was compiled on the way; it is to be run.
        estimate: bytes of a device that a step needs; 0: nobody asked.
        compiled: bytes that the compiler found, by the number of parts tried.
    """

    config: Config
    reason: str
    train_step: AheadOfTime | None = None
    estimate: int = 0
    compiled: dict[int, int] = field(default_factory=dict)


def choose_microbatches(config: Config, setting: Setting, limit: int) -> Choice:
    """Return the configuration with the fewest micro-batches that fit a device.

    The same arguments give the same choice. A number that is given is taken as it is.

    Args:
        config: the run, checked.
        setting: what its steps are given.
        limit: bytes that a device has; `SHARE` of them are used.

    Raises:
        InputError: the batch cannot be shared out over the devices, or the smallest
            micro-batch does not fit.

    >>> from experiments.lars.shapes import assumed_facts
    >>> from lars_jax.train import data_mesh
    >>> parallel = DataParallel(data_mesh(1))
    >>> setting = Setting(parallel, assumed_facts(Config()), (8, 8, 1))
    >>> print(choose_microbatches(Config(), setting, 2**30).reason)
    1 micro-batch of 256 examples: by its shapes it takes at most 0.09 of 0.90 GiB
    """
    parallel, usable = setting.parallel, int(SHARE * limit)
    devices = parallel.num_devices
    if config.microbatches != "auto":
        asked = with_microbatches(config, config.microbatches, devices)
        return Choice(asked, f"{_in_words(asked)}, as asked")
    whole = with_microbatches(config, 1, devices)
    call = config.global_batch * config.steps_per_call
    batch = _batch_bytes(setting, call)
    beside = setting.beside + batch * steps_ahead(setting, call)
    state = state_shapes(whole, setting.facts, parallel.mesh)
    # Only pmap keeps the old state beside the new one.
    states = tree_bytes(state, shard=True) * (2 if parallel.backend == "pmap" else 1)
    resident = states + tree_bytes(setting.shared) + batch + beside
    residuals = residual_bytes(whole, setting.facts, state) // devices
    # Gradients are there twice: as computed and as accumulated.
    fixed = resident + 2 * tree_bytes(state.params)
    most = int(fixed + MARGIN * residuals)
    if most <= usable:
        reason = f"by its shapes it takes at most {_gib(most, usable)}"
        return Choice(whole, f"{_in_words(whole)}: {reason}", estimate=most)
    steps: dict[int, AheadOfTime] = {}

    def measure(parts: int) -> int:
        cut = with_microbatches(config, parts, devices)
        try:
            steps[parts], size = compile_step(cut, setting)
        except jax.errors.JaxRuntimeError as error:
            refused = refused_bytes(str(error))
            if refused is None:
                raise
            size = max(refused, limit)
        return size + beside

    tried, by_preference = {}, _legal_parts(config, devices)
    for legal in by_preference if resident <= usable else []:
        tried = _search(legal, fixed, residuals, usable, measure)
        fitting = [parts for parts, size in tried.items() if size <= usable]
        if fitting:
            parts = min(fitting)
            cut = with_microbatches(config, parts, devices)
            reason = _reason(parts, legal, tried, fixed, limit)
            line = f"{_in_words(cut)}: {reason}"
            return Choice(cut, line, steps[parts], tried[parts], tried)
    parts = by_preference[-1][-1]
    what = "its compiled step" if tried else "state, data and batch"
    span = with_microbatches(config, parts, devices).model.span or config.global_batch
    spans = f" in spans of {span}" if config.model.has_batch_norm else ""
    raise InputError(
        "a micro-batch must fit the memory of a device; got "
        f"{_gib(tried.get(parts, resident), usable)} for {what}, "
        f"{config.global_batch // parts} examples{spans} over {devices} "
        f"device{'' if devices == 1 else 's'}: set --devices to more, --bn-span or "
        "--global-batch to less, or --dtype to bfloat16"
    )


def compile_step(config: Config, setting: Setting) -> tuple[AheadOfTime, int]:
    """Return the compiled training step, and the bytes that it needs on a device.

    Args:
        config: the run, its micro-batches and ghost batch resolved.
        setting: what its steps are given.
    """
    facts, parallel = setting.facts, setting.parallel
    step = AheadOfTime(build_train_step(config, facts, parallel))
    # With shardings the program is the very one that arrays would get.
    state = state_shapes(config, facts, parallel.mesh)
    batch = batch_shapes(config.global_batch, setting.image, config.steps_per_call)
    lead = parallel.num_devices
    for name, x in batch.items():
        count, *rest = x.shape
        mapped = (lead, count // lead) if parallel.backend == "pmap" else (count,)
        batch[name] = x.update(shape=(*mapped, *rest), sharding=parallel.sharded)
    found = step.compile(state, batch, setting.shared).memory_analysis()
    return step, (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )


def refused_bytes(error: str) -> int | None:
    """Return the bytes of a step that a compiler refuses because they are too many.

    Compilers for CPUs and GPUs find out when a step runs; those for TPUs say no.

    Args:
        error: what it says; None is returned where it refuses for another reason.

    >>> refused_bytes("RESOURCE_EXHAUSTED: Used 20.50G of 15.75G hbm.") / GIB
    20.5
    """
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    found = re.findall(r"\b([\d.]*\d)([KMGT])\b", error)
    if "RESOURCE_EXHAUSTED" not in error or not found:
        return None
    return int(max(float(number) * units[unit] for number, unit in found))


def with_microbatches(config: Config, parts: int, devices: int = 1) -> Config:
    """Return a configuration with its micro-batches, and a ghost batch to match.

    `per_device` becomes a number as soon as the devices are known, so that it gives the
    same run on any mesh from there on.

    Args:
        config: the run.
        parts: number of micro-batches.
        devices: devices that share each of them.

    Raises:
        InputError: an example or a ghost batch would be cut; it names both sizes and a
            way out.

    >>> config = replace_fields(Config(), global_batch=256, bn_span="per_device")
    >>> with_microbatches(config, 2, 8).model.bn_span
    16
    """
    part, rest = divmod(config.global_batch, parts)
    if rest:
        raise InputError(
            f"microbatches must divide global_batch; got {parts} of "
            f"{config.global_batch}: set --microbatches to a divisor"
        )
    share, rest = divmod(part, devices)
    if rest:
        raise InputError(
            "global_batch must be a multiple of microbatches x devices; got "
            f"{config.global_batch} for {parts} x {devices}: set --global-batch to a "
            f"multiple of {parts * devices}, or --devices to fewer"
        )
    config = replace_fields(config, microbatches=parts)
    if not config.model.has_batch_norm:
        return config
    if config.model.bn_span == "per_device":
        config = replace_fields(config, bn_span=share)
    span = config.model.span
    if span is None and parts > 1:
        raise InputError(
            "bn_span must be a number or per_device where batch normalisation meets "
            f"micro-batches; got global with {parts} micro-batches of {part} examples: "
            f"set --bn-span to a divisor of {part}, such as "
            f"{math.gcd(part, USUAL_SPAN)}"
        )
    # A whole batch may be less than a ghost batch; a part of one would cut it.
    if span is not None and part % span and (parts > 1 or span < part):
        raise InputError(
            f"bn_span must divide a micro-batch; got {span} of {part} examples: set "
            "--bn-span to a divisor"
        )
    # Under jit examples may move between devices; a mapped step has only its own.
    if config.backend != "jit" and parts > 1 and span is not None and share % span:
        raise InputError(
            f"with micro-batches bn_span must divide a device's part of one under "
            f"{config.backend}; got {span} of {share} examples: set --bn-span to a "
            "divisor, or --backend to jit"
        )
    return config


def steps_ahead(setting: Setting, batch: int) -> int:
    """Return how many steps the loop may run ahead, with their batches on the device.

    Args:
        setting: what the steps are given.
        batch: examples that a call of the step takes.
    """
    size = max(1, _batch_bytes(setting, batch))
    return max(1, min(MAX_IN_FLIGHT, QUEUE_BYTES // size))


def freeze_auto(config: Config, resolved: Mapping[str, Any]) -> Config:
    """Return a configuration with the ghost batch and the parts its run began with.

    On as many devices as before a run goes on in the same parts, whatever memory is
    free by then, so that it ends in the same bits. On others parts may change. A ghost
    batch per device would change the run itself, so it stays what it was.

    Args:
        config: as asked for.
        resolved: as `Trainer.resolved` returned it; empty: there is nothing to keep to.

    >>> config = replace_fields(Config(), bn_span="per_device", devices=1)
    >>> found = freeze_auto(config, {"microbatches": 4, "bn_span": 8, "devices": 2})
    >>> found.model.bn_span, found.microbatches
    (8, 'auto')
    """
    if config.model.bn_span == "per_device":
        config = replace_fields(config, bn_span=resolved.get("bn_span", "per_device"))
    devices = jax.device_count() if config.devices is None else config.devices
    if config.microbatches == "auto" and devices == resolved.get("devices"):
        config = replace_fields(config, microbatches=resolved["microbatches"])
    return config


def device_memory(config: Config, parallel: DataParallel) -> int:
    """Return the bytes that each device of a mesh has, the least where they differ.

    It is what the configuration says; else what an accelerator's allocator may take,
    or a CPU device's share of the memory that the process could still get.

    Args:
        config: the run.
        parallel: its mesh. With several processes all of them have to call this.
    """
    if config.device_memory is not None:
        return int(config.device_memory * GIB)
    devices = parallel.mesh.local_devices
    found = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [size for size in found if size]
    own = min(known) if known else process_memory() // len(devices)
    if not known and own >= GIB:
        # What is free changes from run to run, and the choice should not.
        own = own // GIB * GIB
    if jax.process_count() == 1:
        return own
    # Every process must cut the batch alike. Bytes would not fit into an int32.
    everyone = multihost_utils.process_allgather(np.float32(own / GIB))
    return int(float(np.min(everyone)) * GIB)


def process_memory(root: Path = Path("/")) -> int:
    """Return the bytes that this process could still get, by the kernel's account.

    Args:
        root: where `proc` and `sys` lie; 1 GiB where they do not.
    """
    known = _numbers(root / "proc/meminfo").get("MemAvailable:")
    free = [] if known is None else [1024 * known]
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        # Version 2 names no controllers.
        if not controllers:
            mount, limit, usage = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount = "sys/fs/cgroup/memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A group is limited by all that it lies in.
        own = root / mount / path.lstrip("/")
        for group in (own, *own.parents):
            most, used = _lines(group / limit), _lines(group / usage)
            if most and used and most[0].isdecimal():
                # Files that are only cached make room when asked to.
                cached = _numbers(group / "memory.stat").get("inactive_file", 0)
                free.append(int(most[0]) - int(used[0]) + cached)
    return max(0, min(free, default=GIB))


def _search(
    legal: Sequence[int],
    fixed: int,
    residuals: float,
    usable: int,
    measure: Callable[[int], int],
) -> dict[int, int]:
    """Return the bytes of the numbers of parts that were tried on the way to the least.

    `measure` compiles a step; by its answer `residuals`, the bytes that the whole batch
    needs beside the fixed ones, are known better.
    """
    sizes: dict[int, int] = {}
    # What lies before `low` is too large, and from `high` on it fits.
    low, high = 0, len(legal)
    while low < high:
        fits = high < len(legal)
        guesses = {i: fixed + residuals / legal[i] for i in range(low, high)}
        tried = next((i for i in guesses if guesses[i] <= usable), high - 1)
        # Close to the limit no guess is sure.
        hopeless = guesses[tried] > NEARLY * usable
        if fits and (hopeless or len(sizes) >= MOST_COMPILATIONS):
            break
        sizes[legal[tried]] = size = measure(legal[tried])
        residuals = (size - fixed) * legal[tried]
        low, high = (low, tried) if size <= usable else (tried + 1, high)
    return sizes


def _legal_parts(config: Config, devices: int) -> list[list[int]]:
    """Return the numbers of parts that cut no ghost batch and no example, fewest first.

    Those that leave each device whole ghost batches are first, in a list of their own:
    where one lies across devices examples move, and programs are large.
    """
    whole, across = [], []
    batch = config.global_batch
    for parts in (n for n in range(1, batch // devices + 1) if batch % n == 0):
        try:
            span = with_microbatches(config, parts, devices).model.span
        except InputError:
            continue
        cut = span is not None and batch // (parts * devices) % span
        (across if cut else whole).append(parts)
    return [legal for legal in (whole, across) if legal]


def _reason(
    parts: int, legal: Sequence[int], sizes: Mapping[int, int], fixed: int, limit: int
) -> str:
    line = f"compiled it takes {_gib(sizes[parts], int(SHARE * limit))} on a device"
    for larger in [other for other in legal if other < parts][-1:]:
        guess = fixed + (sizes[parts] - fixed) * parts / larger
        about = "" if larger in sizes else "about "
        line += f"; the next larger takes {about}{sizes.get(larger, guess) / GIB:.2f}"
    return f"{line} ({SHARE:.0%} of {limit / GIB:.2f} are planned with)"


def _in_words(config: Config) -> str:
    plural = "" if config.parts == 1 else "es"
    size, span = config.global_batch // config.parts, config.model.span
    line = f"{config.parts} micro-batch{plural} of {size} examples"
    return line if span is None else f"{line} in spans of {span}"


def _gib(size: int, usable: int) -> str:
    return f"{size / GIB:.2f} of {usable / GIB:.2f} GiB"


def _batch_bytes(setting: Setting, batch: int) -> int:
    """Return the bytes that so many examples are on one device."""
    return (
        tree_bytes(batch_shapes(batch, setting.image)) // setting.parallel.num_devices
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _numbers(path: Path) -> dict[str, int]:
    """Return the numbers of a file of the kernel by their names."""
    rows = [line.split() for line in _lines(path)]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}
