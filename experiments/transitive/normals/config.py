"""The typed configuration of a network of surface normals."""

from dataclasses import dataclass
from typing import Literal

from experiments.transitive.rule import RuleConfig
from experiments.transitive.trunk import TrunkConfig
from lars_jax.runs import (
    NonNegative,
    NonNegativeFloat,
    PathText,
    Positive,
    Seed,
)


@dataclass(frozen=True)
class DataConfig:
    """Photographs with depth, and the size at which the network sees them."""

    frames: PathText = "nyuv2"
    """NYUv2: a folder of archives, or the official labelled .mat file."""

    splits: PathText | None = None
    """Of a .mat file: splits.mat, or an .npz archive with a list of frames, from 0 on,
    for each split."""

    train_split: str = "trainval"
    """Frames to train on: the official 795, or train or val of archives."""

    test_split: str = "test"
    """Frames to evaluate."""

    height: Positive = 480
    """Pixels, a whole part of those of the frames."""

    length: Positive = 640
    """Pixels across, the same part of those of the frames."""

    flip: bool = True
    """Every other frame is mirrored, by chance, in training."""

    colour: NonNegativeFloat = 0.0
    """Logarithm of the largest factor of a colour channel in training."""


@dataclass(frozen=True)
class ModelConfig(TrunkConfig):
    """The network, FCN-32s."""

    border: NonNegative = 99
    """Zero pixels around a frame; with that of the first convolution, 100."""

    cells: Positive = 7
    """Pixels of the last pool a side that fc6 reads."""


@dataclass(frozen=True)
class CodebookConfig:
    """The normals that a pixel is classified into."""

    codewords: Positive = 40
    """Clusters of the training normals."""

    decoding: Literal["hard", "soft", "triangle"] = "triangle"
    """What a pixel's normal is: the likeliest codeword, the mean of all, or that of the
    likeliest triangle of neighbouring ones, as in the code of its authors."""


@dataclass(frozen=True)
class Config:
    """One network, trained and evaluated: the same config, the same numbers."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    codebook: CodebookConfig = CodebookConfig()
    # FCN-32s has 1e-10 of a sum over pixels, here it is of their mean: of some 240,000.
    optimizer: RuleConfig = RuleConfig(learning_rate=2.4e-5, momentum=0.99)

    global_batch: Positive = 1
    """Frames in a batch, over all devices."""

    steps: Positive = 100_000
    """Updates."""

    seed: Seed = 0
    """Seed of everything that is drawn."""

    devices: Positive | None = None
    """Number of devices to use; None: all."""

    log_every: Positive = 20
    """Updates between rows of metrics."""

    eval_every: Positive = 10_000
    """Updates between evaluations and checkpoints; the last is always evaluated."""
