"""Seconds to 94 % of CIFAR-10's test images, by Nesterov momentum and by LARS.

    python -m benchmarks.lars.cifar10_94 --optimizers nesterov lars --seeds 5 --record

The recipe is that of `cifar10_94_recipe`, the clock that of airbench94: the images are
on the device already and every program is compiled; counted are the whitening, the
order, all steps, and one evaluation by six views of each test image. Seconds of
training and of that evaluation stand apart; other evaluations are not counted.
"""

import itertools
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common.markdown import columns, grouped
from benchmarks.common.records import device_name, mean_sd, write_record
from benchmarks.lars.cifar10_94_network import network
from benchmarks.lars.cifar10_94_recipe import RATES, Images, Optimizer, Training
from lars_jax.cpu import COMPILER_OPTIONS
from lars_jax.data import ImageArrays, ResidentImages, load_source, to_arrays
from lars_jax.errors import InputError
from lars_jax.runs import BoundedFloat, NonNegative, Positive
from lars_jax.runs.arguments import parse
from lars_jax.runs.ending import status_of
from lars_jax.train.config import to_json

COMMAND = "python -m benchmarks.lars.cifar10_94"
GOAL = 0.94
CLASSES = 10

LINE = (
    "{optimizer}, rate {rate:g}, seed {seed}: {six_views:.2%} by six views, "
    "{one_view:.2%} by one, in {train_seconds:.2f} s and {evaluate_seconds:.2f} s"
)
CELLS = {
    "optimizer": "{optimizer}",
    "rate": "{rate:g}",
    "six views %": "{six_views:.2f}",
    "one view %": "{one_view:.2f}",
    "at 94 %": "{reached} of {n}",
    "training s": "{train_seconds:.2f}",
    "evaluation s": "{evaluate_seconds:.2f}",
    "compiling s": "{compile_seconds:.0f}",
}
"""What is printed of a run, and of all with one optimizer and rate."""


@dataclass(frozen=True)
class Settings:
    """Train by each optimizer and rate from several seeds."""

    optimizers: tuple[Optimizer, ...] = ("nesterov", "lars")
    """What moves the kernels."""
    seeds: Positive = 5
    """0 to n - 1 of each optimizer and rate."""
    rates: tuple[float, ...] = (RATES["lars"],)
    """Peak rates of LARS, with runs of each; Nesterov's is the published one."""
    epochs: BoundedFloat = 9.9
    """Length of a run; an epoch is the whole batches that the examples give."""
    batch: Positive = 1024
    """Examples of a step; Nesterov's rate is proportional to it."""
    width: BoundedFloat = 1.0
    """Channels over those of the recipe."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of activations and products; by default bfloat16, on a CPU float32."""
    train_examples: Positive | None = None
    """Examples to train on, the first; by default all."""
    holdout: NonNegative = 0
    """Examples of these, the last, that stand for the test images: to choose a rate."""
    noise: bool = False
    """Take random images in place of CIFAR-10, to time a device or to rehearse."""
    each_epoch: bool = False
    """Evaluate and print after each epoch, too."""
    record: bool = False
    """Write `records/cifar10_94_DEVICE.json` after each run."""


class Programs(NamedTuple):
    """Compiled programs of a training, and the seconds that compiling them took."""

    begin: Callable[..., Any]
    advance: Callable[..., Any]
    one_view: Callable[..., Any]
    six_views: Callable[..., Any]
    seconds: float


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for and return the exit status."""
    words = list(sys.argv[1:] if words is None else words)

    def run_all() -> None:
        settings = check(parse(Settings, words, prog=COMMAND))
        sizes = {"train": 50_000, "test": 10_000}
        both = (split(name, size, settings.noise) for name, size in sizes.items())
        train, test = divide(settings, *both)
        runs: list[dict[str, Any]] = []
        for run in measure(settings, train, test):
            runs.append(run)
            print(LINE.format(**run), flush=True)
            if settings.record:
                path = save(settings, shlex.join([*COMMAND.split(), *words]), runs)
                print(f"record: {path}", file=sys.stderr, flush=True)
        print(columns(CELLS, summaries(runs)))

    return status_of(run_all)


def check(settings: Settings) -> Settings:
    """Return settings that can be used.

    Raises:
        InputError: no optimizer or rate, one that is given twice, or an impossible one.
    """
    for name in ("optimizers", "rates"):
        values = getattr(settings, name)
        if not values or len(set(values)) < len(values):
            raise InputError(
                f"{name} must be some, each of them once; got "
                f"{' '.join(map(str, values)) or 'none'}: correct --{name}"
            )
    if not all(0 < rate < math.inf for rate in settings.rates):
        raise InputError(
            "rates must be above 0 and finite; got "
            f"{' '.join(map(str, settings.rates))}: correct --rates"
        )
    return settings


def split(name: str, size: int, noise: bool) -> ImageArrays:
    """Return one split of CIFAR-10, or as many random images of its shape."""
    if not noise:
        return to_arrays(load_source("cifar10", name))
    rng = np.random.default_rng(size)
    image = rng.integers(0, 256, (size, 32, 32, 3), np.uint8)
    return ImageArrays(image, rng.integers(0, CLASSES, size, np.int32))


def divide(
    settings: Settings, train: ImageArrays, test: ImageArrays
) -> tuple[ImageArrays, ImageArrays]:
    """Return the examples to train on and those to evaluate.

    Raises:
        InputError: there are not as many as is asked for.
    """
    count = settings.train_examples or len(train)
    if count > len(train):
        raise InputError(
            f"train_examples must be at most {len(train):,}, which there are; got "
            f"{count:,}: lower --train-examples"
        )
    kept = count - settings.holdout
    if kept < settings.batch:
        raise InputError(
            f"a batch must be of distinct examples; got {settings.batch:,} of "
            f"{max(kept, 0):,}: lower --batch or --holdout, or raise --train-examples"
        )
    if settings.holdout:
        test = ImageArrays(train.image[kept:count], train.label[kept:count])
    return ImageArrays(train.image[:kept], train.label[:kept]), test


def measure(
    settings: Settings, train: ImageArrays, test: ImageArrays
) -> Iterator[dict[str, Any]]:
    """Yield every run as it ends, as a row of the record."""
    data, held = on_device(train), on_device(test)
    dtype = settings.dtype or ("float32" if on_cpu() else "bfloat16")
    layers = network(CLASSES, settings.width, jnp.dtype(dtype))
    for optimizer in settings.optimizers:
        training = Training(
            optimizer, layers, len(train), settings.batch, settings.epochs
        )
        programs = compile_programs(training, data, held)
        line = f"{optimizer}: compiled in {programs.seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)
        if not on_cpu():
            # A first call loads the program and asks for its memory.
            one_run(training, programs, data, held, seed=0, rate=1.0, ends=[1])
        own = settings.rates if optimizer == "lars" else (RATES[optimizer],)
        for seed, rate in itertools.product(range(settings.seeds), own):
            ends = training.ends(settings.each_epoch)
            run = one_run(
                training, programs, data, held, seed=seed, rate=rate, ends=ends
            )
            facts = {"steps": training.steps, "dtype": dtype, "evaluated": len(test)}
            yield run | facts


def compile_programs(training: Training, data: Images, held: Images) -> Programs:
    """Return the programs of a training, compiled for these images."""
    seconds = 0.0
    options = COMPILER_OPTIONS if on_cpu() else None

    def compiled(
        function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        nonlocal seconds
        jitted = jax.jit(function, donate_argnums=donate, compiler_options=options)
        program, took = timed(lambda: jitted.lower(*arguments).compile())
        seconds += took
        return program

    key, rate, stop = jax.random.key(0), jnp.float32(0), jnp.int32(0)
    begin = compiled(training.begin, key, data)
    state, shared = jax.eval_shape(training.begin, key, data)
    evaluated = state.params, state.statistics, held
    return Programs(
        begin,
        compiled(training.advance, state, shared, data, rate, stop, donate=(0,)),
        compiled(partial(training.count_right, views="one"), *evaluated),
        compiled(partial(training.count_right, views="six"), *evaluated),
        seconds,
    )


def one_run(
    training: Training,
    programs: Programs,
    data: Images,
    held: Images,
    *,
    seed: int,
    rate: float,
    ends: Sequence[int],
) -> dict[str, Any]:
    """Train once and return what came of it.

    Args:
        training: what is trained.
        programs: its own.
        data: what it is trained on.
        held: what it is evaluated on.
        seed: of weights, order and variation.
        rate: at its peak.
        ends: steps after which it is evaluated, off the clock; the last ends it.
    """
    accuracies: list[float] = []
    (state, shared), seconds = timed(programs.begin, jax.random.key(seed), data)
    for end in ends:
        arguments = state, shared, data, jnp.float32(rate), jnp.int32(end)
        state, took = timed(programs.advance, *arguments)
        seconds += took
        right = programs.one_view(state.params, state.statistics, held)
        accuracies.append(int(right) / len(held.label))
        if ends[1:]:
            line = f"step {end}: {accuracies[-1]:.2%} after {seconds:.1f} s"
            print(line, file=sys.stderr, flush=True)
    evaluated = state.params, state.statistics, held
    right, evaluate_seconds = timed(programs.six_views, *evaluated)
    return {
        "optimizer": training.optimizer,
        "rate": rate,
        "seed": seed,
        "six_views": int(right) / len(held.label),
        "one_view": accuracies[-1],
        "train_seconds": seconds,
        "evaluate_seconds": evaluate_seconds,
        "compile_seconds": programs.seconds,
        "after_epochs": accuracies[:-1],
    }


def on_device(arrays: ImageArrays) -> Images:
    """Return a data set on the device."""
    image = jax.device_put(ResidentImages.of(arrays.image))
    return Images(image, jax.device_put(arrays.label))


def on_cpu() -> bool:
    """Return whether the device is a CPU."""
    return jax.default_backend() == "cpu"


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return what a function returns once it is there, and the seconds until then."""
    started = time.perf_counter()
    found = jax.block_until_ready(function(*arguments))
    return found, time.perf_counter() - started


def summaries(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the runs of each optimizer and rate come to, accuracies in %.

    >>> run = {"optimizer": "lars", "rate": 8.0, "one_view": 0.9, "train_seconds": 3.0}
    >>> run |= {"evaluate_seconds": 0.5, "compile_seconds": 60.0}
    >>> found = summaries([run | {"six_views": share} for share in (0.93, 0.95)])[0]
    >>> found["six_views"], found["reached"], found["share"]
    ([93.0, 95.0], 1, 0.5)
    """
    rows = []
    for (optimizer, rate), own in grouped(runs, "optimizer", "rate").items():
        views = ("six_views", "one_view")
        percent = {name: [100 * run[name] for run in own] for name in views}
        seconds = ("train_seconds", "evaluate_seconds")
        taken = {name: [run[name] for run in own] for name in seconds}
        reached = sum(run["six_views"] >= GOAL for run in own)
        counts = {
            "n": len(own),
            "reached": reached,
            "share": reached / len(own),
            "compile_seconds": own[0]["compile_seconds"],
        }
        rows.append({"optimizer": optimizer, "rate": rate} | percent | taken | counts)
    return rows


def save(settings: Settings, command: str, runs: Sequence[dict[str, Any]]) -> Path:
    """Write the record of all runs so far, and return its path."""
    summary = [
        {
            name: dict(zip(("mean", "sd"), mean_sd(value), strict=True))
            if isinstance(value, list)
            else value
            for name, value in row.items()
        }
        for row in summaries(runs)
    ]
    return write_record(
        f"cifar10_94_{device_name()}",
        command,
        config=to_json(settings),
        summary=summary,
        runs=list(runs),
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)
    sys.exit(main())
