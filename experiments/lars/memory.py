"""The micro-batch that fits: how many parts a batch is taken in, by what they need.

Memory of a step on one device, in bytes, is that of its program

    arguments + outputs - aliased + temporaries

as the compiler accounts for it, and of what lies beside: evaluation data, and batches
that the loop has sent ahead. Arguments hold the state, the batch and the training data.
Temporaries are in proportion to the micro-batch.

A program costs seconds to minutes to compile, so shapes are asked first. By them the
temporaries are about what differentiation keeps of a micro-batch, and the gradients
twice: as computed and as accumulated. Where the whole batch fits though it took half as
much again, nothing is compiled. Otherwise shapes choose the first program, and what the
compiler says of one chooses the next. The program of the choice is the one that runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax

from experiments.lars.config import Config
from experiments.lars.device import GIB
from experiments.lars.parts import (
    check_shares,
    check_span,
    divided,
    has_batch_norm,
    parts_of,
    span_of,
)
from experiments.lars.program import (
    Step,
    build_train_step,
)
from experiments.lars.shapes import (
    Setting,
    batch_shapes,
    placed,
    placed_state,
    residual_bytes,
    tree_bytes,
)
from lars_jax.errors import InputError
from lars_jax.train import DataParallel
from lars_jax.train.loop import MAX_IN_FLIGHT
from lars_jax.train.sharding import shard_shapes

SHARE = 0.9
"""Share of a device's memory that a step may plan with.

The rest is for what no estimate sees: gaps between blocks, buffers of collectives, the
programs themselves.
"""

MARGIN = 1.5
"""What a micro-batch may take at most, by what differentiation keeps of it.

The compiler makes 0.8 of that for ResNet and 1.3 for AlexNet-BN, on CPUs.
"""

MOST_COMPILATIONS = 4
"""Programs compiled at most in search of a larger micro-batch than one that fits."""

NEARLY = 1.1
"""What is expected to need that much of what is allowed is compiled to be sure."""

QUEUE_BYTES = GIB
"""Bytes of batches, on one device, that the loop may send ahead."""


@dataclass(frozen=True)
class Resolved:
    """A configuration with its parts and span as numbers, and why.

    Attributes:
        config: as it will run.
        reason: one line for people.
        train_step: its step where one was compiled on the way, to be used again.
        estimate: bytes of a device that a step needs; 0: nobody asked.
        compiled: bytes that the compiler found, by the number of parts tried.
    """

    config: Config
    reason: str
    train_step: Step | None = None
    estimate: int = 0
    compiled: dict[int, int] = field(default_factory=dict)


def resolve(config: Config, setting: Setting, limit: int) -> Resolved:
    """Return the configuration with the largest micro-batch that fits a device.

    The same arguments give the same choice. Where the parts are given they are taken
    as they are.

    Args:
        config: the run, checked.
        setting: what its steps are given.
        limit: bytes that a device has; `SHARE` of them are used.

    Raises:
        InputError: the parts cannot be shared out over the devices, or the smallest
            micro-batch does not fit.

    >>> from experiments.lars.program import ImageFacts
    >>> from lars_jax.train import data_mesh
    >>> facts = ImageFacts(10, 1, (0.0,), (1.0,))
    >>> setting = Setting(DataParallel(data_mesh(1)), facts, (8, 8, 1))
    >>> print(resolve(Config(), setting, 2**30).reason)
    1 micro-batch of 256 examples: by its shapes it takes at most 0.09 of 0.90 GiB
    """
    if config.microbatches != "auto":
        config = divided(config, config.microbatches, setting.parallel.num_devices)
        check_span(config)
        check_shares(config, setting.parallel)
        return Resolved(config, f"{_cut(config)}, as asked")
    search = _Search(config, setting, limit)
    whole = search.expected(1, MARGIN)
    if whole <= search.usable:
        one = search.at(1)
        reason = f"{_cut(one)}: by its shapes it takes at most {search.of(whole)}"
        return Resolved(one, reason, estimate=whole)
    return search.compiled()


def steps_ahead(setting: Setting, batch: int) -> int:
    """Return how many steps the loop may run ahead, with their batches on the device.

    Args:
        setting: what the steps are given.
        batch: global batch.

    Images of 224 x 224 on one device, for a batch of 32,768 and of 1024:

    >>> from experiments.lars.program import ImageFacts
    >>> from experiments.lars.program import ImageFacts
    >>> from lars_jax.train import data_mesh
    >>> facts = ImageFacts(1000, 3, (0.0,) * 3, (1.0,) * 3)
    >>> setting = Setting(DataParallel(data_mesh(1)), facts, (224, 224, 3))
    >>> steps_ahead(setting, 32768), steps_ahead(setting, 1024)
    (1, 6)
    """
    size = tree_bytes(batch_shapes(batch, setting.image))
    size = max(1, size // setting.parallel.num_devices)
    return max(1, min(MAX_IN_FLIGHT, QUEUE_BYTES // size))


class _Search:
    """The part counts of one run, and what is known of the memory that they need."""

    def __init__(self, config: Config, setting: Setting, limit: int):
        self.config, self.setting = config, setting
        self.limit, self.usable = limit, int(SHARE * limit)
        self.legal_parts = list(_legal_parts(config, setting.parallel))
        self.legal = self.legal_parts
        batch = tree_bytes(batch_shapes(config.global_batch, setting.image))
        batch //= setting.parallel.num_devices
        ahead = steps_ahead(setting, config.global_batch)
        self.beside = setting.beside + ahead * batch
        # Only pmap keeps the old state beside the new one.
        states = 2 if setting.parallel.backend == "pmap" else 1
        state = placed_state(self.at(1), setting)
        own = shard_shapes(state, jax.tree.map(lambda x: x.sharding, state))
        self.resident = states * tree_bytes(own) + batch + self.beside
        self.resident += tree_bytes(setting.shared)
        self.gradients = 2 * tree_bytes(state.params)
        residuals = residual_bytes(self.at(1), setting.facts)
        self.kept = self.asked_for = residuals / config.global_batch

    def at(self, parts: int) -> Config:
        """Return the configuration with that many parts."""
        return divided(self.config, parts, self.setting.parallel.num_devices)

    def expected(self, parts: int, margin: float = 1.0) -> int:
        """Return the bytes that so many parts need, by what is known so far."""
        kept = margin * self.kept * self._share(parts)
        return int(self.resident + self.gradients + kept)

    def compiled(self) -> Resolved:
        """Return the fewest parts that fit by the compiler's account.

        Raises:
            InputError: none do.
        """
        if self.resident > self.usable:
            raise self._refusal(self.legal[-1], self.resident, "state, data and batch")
        # Spans that lie across devices make examples move and programs large.
        for legal in self._by_preference():
            self.legal, self.kept = legal, self.asked_for
            sizes: dict[int, int] = {}
            best: tuple[int, Step] | None = None
            while (parts := self._next(sizes)) is not None:
                step, sizes[parts] = self._compile(parts)
                # The next guess is corrected by the ratio of the two accounts.
                share = self._share(parts)
                self.kept = (sizes[parts] - self.resident - self.gradients) / share
                if sizes[parts] <= self.usable:
                    best = parts, step
            if best is not None:
                parts, step = best
                reason = self._reason(parts, sizes)
                return Resolved(self.at(parts), reason, step, sizes[parts], sizes)
        smallest = max(sizes)
        raise self._refusal(smallest, sizes[smallest], "its compiled step")

    def of(self, size: int) -> str:
        """Return a size beside the one that is allowed."""
        return f"{size / GIB:.2f} of {self.usable / GIB:.2f} GiB"

    def _by_preference(self) -> Iterator[list[int]]:
        """Yield the parts that leave each device whole spans, then the others."""
        for whole in (True, False):
            legal = [p for p in self.legal_parts if self._holds_spans(p) == whole]
            if legal:
                yield legal

    def _holds_spans(self, parts: int) -> bool:
        span = span_of(self.at(parts))
        return span is None or self._share(parts) % span == 0

    def _share(self, parts: int) -> int:
        """Return the examples of a micro-batch that a device holds."""
        return self.config.global_batch // (parts * self.setting.parallel.num_devices)

    def _next(self, sizes: dict[int, int]) -> int | None:
        """Return the parts to compile next; None when nothing is left to learn."""
        fitting = [parts for parts, size in sizes.items() if size <= self.usable]
        if fitting and len(sizes) >= MOST_COMPILATIONS:
            return None
        least = max((p for p, size in sizes.items() if size > self.usable), default=0)
        most = min(fitting, default=self.legal[-1] + 1)
        between = [parts for parts in self.legal if least < parts < most]
        # Of what fits for sure the largest; but close to the limit no guess is sure.
        room = self.usable * (NEARLY if fitting else 1.0)
        likely = [parts for parts in between if self.expected(parts) <= room]
        if likely:
            return likely[0]
        return between[-1] if between and not fitting else None

    def _compile(self, parts: int) -> tuple[Step, int]:
        config, setting = self.at(parts), self.setting
        step = build_train_step(config, setting.facts, setting.parallel)
        found = compiled_bytes(step, config, setting)
        return step, found + self.beside

    def _reason(self, parts: int, sizes: dict[int, int]) -> str:
        line = (
            f"{_cut(self.at(parts))}: compiled it takes {self.of(sizes[parts])} on a "
            "device"
        )
        fewer = [other for other in self.legal if other < parts]
        if fewer:
            most = sizes.get(fewer[-1]) or self.expected(fewer[-1])
            about = "" if fewer[-1] in sizes else "about "
            line += f"; the next larger takes {about}{most / GIB:.2f}"
        return f"{line} ({SHARE:.0%} of {self.limit / GIB:.2f} are planned with)"

    def _refusal(self, parts: int, size: int, what: str) -> InputError:
        config, devices = self.at(parts), self.setting.parallel.num_devices
        span = span_of(config) or config.global_batch
        spans = f" in spans of {span}" if has_batch_norm(config) else ""
        return InputError(
            f"a micro-batch must fit the memory of a device; got {self.of(size)} for "
            f"{what}, {config.global_batch // parts} examples{spans} over {devices} "
            f"device{'' if devices == 1 else 's'}: take more devices, a smaller "
            "--bn-span or --global-batch, or --dtype bfloat16"
        )


def compiled_bytes(step: Step, config: Config, setting: Setting) -> int:
    """Compile a step, and return the bytes that it needs on a device.

    JAX keeps the program: calling the step with such arguments does not compile again.

    Args:
        step: of `build_train_step`.
        config: the run, its parts resolved.
        setting: what its steps are given.
    """
    parallel = setting.parallel
    batch = batch_shapes(config.global_batch, setting.image)
    if parallel.backend == "pmap":
        lead = parallel.num_devices
        batch = {
            name: x.update(shape=(lead, x.shape[0] // lead, *x.shape[1:]))
            for name, x in batch.items()
        }
    lowered: Any = step
    lowered = lowered.lower(
        placed_state(config, setting),
        placed(batch, parallel.sharded),
        placed(setting.shared, parallel.replicated),
    )
    found = lowered.compile().memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )


def _legal_parts(config: Config, parallel: DataParallel) -> Iterator[int]:
    """Yield the numbers of parts that cut no span and no example, fewest first.

    Raises:
        InputError: not even the whole batch can be shared out.
    """
    for parts in range(1, config.global_batch + 1):
        if config.global_batch % parts:
            continue
        try:
            cut = divided(config, parts, parallel.num_devices)
            check_span(cut)
            check_shares(cut, parallel)
        except InputError:
            if parts == 1:
                raise
            continue
        yield parts


def _cut(config: Config) -> str:
    """Return the parts of a batch in words."""
    parts = parts_of(config)
    plural = "" if parts == 1 else "es"
    line = f"{parts} micro-batch{plural} of {config.global_batch // parts} examples"
    asked = span_of(config)
    return line if asked is None else f"{line} in spans of {asked}"
