"""The data of a run: where it lives, and the batches that a step is given.

A small data set is put on the device once and a batch is then a row of indices; a large
one is decoded on the host and fed. Either way the batch of a step is a function of the
seed and the step alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from experiments.lars.check import check_data
from experiments.lars.config import Config
from experiments.lars.program import ImageFacts
from experiments.lars.shapes import Setting, fed_shape, tree_bytes
from lars_jax.data import (
    Fit,
    ResidentImages,
    Source,
    channel_statistics,
    evaluation_batches,
    evaluation_images,
    hold_out,
    image_batches,
    index_batches,
    known_statistics,
    load_source,
    read_batch,
    require_one_size,
    to_arrays,
)
from lars_jax.errors import InputError
from lars_jax.train import DataParallel, Interrupt

DEVICE_LIMIT = 2**30
"""Bytes of images up to which a data set is kept on the device."""

STATISTICS_EXAMPLES = 1000
"""Examples of a data set too large for the device that its channels are measured on."""

CALIBRATION_EXAMPLES = 4096
"""Training examples that batch statistics are estimated from."""

CALIBRATION_BATCH = 1024
"""Largest batch of that estimate; a training batch may not fit beside evaluation."""


@dataclass(frozen=True)
class Split:
    """One side of the data: a source and, where it lives on the device, its arrays."""

    source: Source
    arrays: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)


@dataclass(frozen=True)
class Inputs:
    """Training and evaluation data, placed, with the batches that lead through them."""

    config: Config
    parallel: DataParallel
    facts: ImageFacts
    class_names: tuple[str, ...]
    train: Split
    evaluation: Split

    @property
    def steps_per_epoch(self) -> float:
        """Updates in one pass over the training examples, not rounded."""
        return len(self.train) / self.config.global_batch

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return self.config.total_steps(len(self.train))

    def setting(self) -> Setting:
        """Return what a training step is given, as an estimate of memory needs it."""
        train, data = self.train, self.config.data
        height, width = np.shape(train.source[0][0])[:2]
        fed = fed_shape(data, self.facts, (height, width))
        return Setting(
            parallel=self.parallel,
            facts=self.facts,
            image=None if train.arrays else fed,
            shared=self.shared(train, self.config.seed),
            beside=tree_bytes(self.evaluation.arrays),
        )

    def shared(self, split: Split, seed: int) -> dict[str, Any]:
        """Return what every step of a seed is given besides state and batch."""
        return split.arrays | {"key": self.parallel.replicate(jax.random.key(seed))}

    def train_batches(
        self, *, start: int, stop: int, seed: int, interrupt: Interrupt
    ) -> Iterator[Any]:
        """Return the batches of steps `start` to `stop`, a call's at a time.

        They lie on the devices, those of several steps side by side on axis 1.
        """
        batch, calls = self.config.global_batch, self.config.steps_per_call
        rows = self._train_rows(batch, start=start, stop=stop, seed=seed)
        if calls > 1:
            rows = map(_side_by_side, zip(*[rows] * calls, strict=True))
        return map(self.parallel.shard_batch, interrupt.each(rows))

    def calibration_batches(self, *, seed: int, interrupt: Interrupt) -> Iterator[Any]:
        """Return the training batches that batch statistics are estimated from."""
        examples = min(CALIBRATION_EXAMPLES, len(self.train))
        batch = self.calibration_batch
        steps = max(1, examples // batch)
        rows = self._train_rows(batch, start=0, stop=steps, seed=seed)
        return map(self._evaluating.shard_batch, interrupt.each(rows))

    def evaluation_batches(self, interrupt: Interrupt) -> Iterator[Any]:
        """Return every evaluation example once, the last batch padded."""
        size = min(self.config.eval_batch, len(self.evaluation))
        batch = _whole(size, self.parallel.num_devices, up=True)
        mine = self.parallel.local_rows(batch)
        if self.evaluation.arrays:
            rows = evaluation_batches(len(self.evaluation), batch, rows=mine)
        else:
            data, source = self.config.data, self.evaluation.source
            rows = evaluation_images(
                source,
                batch,
                resize=data.resize,
                fit=data.evaluation_fit,
                size=data.image_size,
                rows=mine,
            )
        return map(self._evaluating.shard_batch, interrupt.each(rows))

    @property
    def _evaluating(self) -> DataParallel:
        """The mesh of evaluation, whose arrays are global under every back-end."""
        return DataParallel(self.parallel.mesh, "jit")

    @property
    def calibration_batch(self) -> int:
        """Examples of a batch that batch statistics are estimated from."""
        # Not of micro-batches: what is evaluated must not depend on memory.
        batch, span = self.config.global_batch, self.config.model.span
        if span is not None and span >= batch:
            return batch
        # Whole spans on whole devices, as a training batch has them.
        unit = math.lcm(self.parallel.num_devices, span or 1)
        return _whole(min(batch, CALIBRATION_BATCH), unit)

    def _train_rows(
        self, batch: int, *, start: int, stop: int, seed: int
    ) -> Iterator[dict[str, np.ndarray]]:
        rows = self.parallel.local_rows(batch)
        place = {"seed": seed, "batch": batch, "start": start, "steps": stop}
        if self.train.arrays:
            return index_batches(len(self.train), rows=rows, **place)
        data = self.config.data
        return image_batches(
            self.train.source,
            resize=data.resize,
            size=data.image_size,
            random_resized_crop=data.augmentation == "random_resized_crop",
            rows=rows,
            **place,
        )


def open_sources(config: Config) -> dict[str, Source]:
    """Open the splits of a configuration, with the classes of both.

    Raises:
        InputError: the data set is missing or cannot be used.
    """
    data = config.data
    splits = {"train": data.train_split}
    if not data.holdout:
        splits["test"] = data.test_split
    return {
        name: load_source(
            data.dataset, split, data_dir=data.data_dir, beside=list(splits.values())
        )
        for name, split in splits.items()
    }


def load_inputs(
    config: Config, parallel: DataParallel, sources: Mapping[str, Source]
) -> Inputs:
    """Put the data of a run where the steps want it.

    Raises:
        InputError: an image is unreadable, or there are fewer than a batch.
    """
    data, train = config.data, sources["train"]
    if data.holdout:
        train, evaluation = hold_out(train, data.holdout)
    else:
        evaluation = sources["test"]
    if len(train.class_names) < 2:
        raise InputError(
            f"classification needs two classes at least; {data.dataset} has only "
            f"{', '.join(train.class_names)}: add one, or correct the path"
        )
    check_data(config, len(train))
    boxes = data.augmentation == "random_resized_crop"
    for source in (train, evaluation):
        height, width = np.shape(source[0][0])[:2]
        smallest = min(height, width) if data.resize is None else data.resize
        # Evaluation crops without padding; boxes are cut out of any size.
        if data.image_size > smallest and not (boxes and source is train):
            raise InputError(
                f"image_size must not exceed the images; got {data.image_size} for "
                f"images of {height}x{width}: lower --image-size or set --resize"
            )
    placed = (
        _place(config, parallel, train, "warp"),
        _place(config, parallel, evaluation, data.evaluation_fit),
    )
    for split in placed[boxes:]:
        # Of what is streamed a size would be met too late.
        if not split.arrays and data.resize is None:
            require_one_size(split.source)
    facts = _facts(config, train, placed[0])
    return Inputs(config, parallel, facts, train.class_names, *placed)


def _place(config: Config, parallel: DataParallel, source: Source, fit: Fit) -> Split:
    data = config.data
    height, width, channels = np.shape(source[0][0])
    pixels = height * width if data.resize is None else data.resize**2
    small = len(source) * pixels * channels <= DEVICE_LIMIT
    wanted = data.placement == "device" or (data.placement == "auto" and small)
    if data.augmentation == "random_resized_crop" or not wanted:
        return Split(source, {})
    arrays = to_arrays(source, resize=data.resize, fit=fit)
    placed = {"image": ResidentImages.of(arrays.image), "label": arrays.label}
    return Split(source, parallel.replicate(placed))


def _facts(config: Config, source: Source, split: Split) -> ImageFacts:
    data = config.data
    statistics = known_statistics(data.dataset)
    if statistics is None and split.arrays:
        rows = np.asarray(split.arrays["image"].rows)
        channels = np.shape(source[0][0])[-1]
        statistics = channel_statistics(rows.reshape(len(rows), -1, 1, channels))
    elif statistics is None:
        # A fair sample of a large data set.
        stride = max(1, len(source) // STATISTICS_EXAMPLES)
        sample = range(0, len(source), stride)
        read = read_batch(source, sample, resize=data.resize or data.image_size)
        statistics = channel_statistics(read.image)
    mean, std = map(tuple, statistics)
    if data.scaling == "caffe":
        # Dividing by 1 / 255 takes back the division by 255.
        std = (1 / 255,) * len(mean)
    return ImageFacts(len(source.class_names), len(mean), mean, std)


def _side_by_side(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    # Axis 0 is what is shared out over devices, by every back-end.
    return jax.tree.map(lambda *parts: np.stack(parts, axis=1), *rows)


def _whole(size: int, unit: int, *, up: bool = False) -> int:
    """Return the multiple of `unit` below `size`, or above it."""
    rounded = -(-size // unit) if up else size // unit
    return max(1, rounded) * unit
