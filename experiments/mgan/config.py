"""The typed configuration of one game; nothing else configures anything."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from lars_jax.runs import (
    BelowOne,
    BoundedFloat,
    DataDirectory,
    DatasetName,
    NonNegative,
    NonNegativeFloat,
    PathAfter,
    PathText,
    Positive,
    Seed,
)

OptimizerName = Literal["adam", "lars", "lamb"]

Count = Annotated[int, Interval(gt=0, le=100_000)]
"""A number of units or players, whose products are still numbers of bytes."""

PLANE = ("ring", "grid")
"""Data sets that are drawn, in the plane; all others are images."""


FeaturesText = Annotated[str, PathAfter(r"(\w+:(?!//))?")]
"""FILE of Inception weights, or NETWORK:FILE of a classifier."""


@dataclass(frozen=True)
class DataConfig:
    """What the generators are to imitate."""

    dataset: DatasetName = "ring"
    """`ring` or `grid` of Gaussians; images: `digits`, a TFDS name, `folder:PATH`."""

    modes: Positive = 8
    """Gaussians of a ring or a grid."""

    extent: BoundedFloat = 2.0
    """Radius of the ring, or half the side of the grid."""

    variance: BoundedFloat = 0.02
    """Variance of each Gaussian along either axis."""

    shares: Literal["even", "rising"] = "even"
    """Shares of the Gaussians: all the same, or 1, 2, 3 ... in proportion."""

    data_dir: DataDirectory | None = None
    """Where prepared TFDS data sets lie; else $TFDS_DATA_DIR, else TFDS's default."""

    split: str = "train"
    """Name of the split of images."""

    image_size: Positive = 32
    """Height and width of images, in pixels; others are resized to it."""


@dataclass(frozen=True)
class NetworkConfig:
    """The networks of all players."""

    network: Literal["plane", "dcgan"] = "plane"
    """Dense layers for points in the plane, or convolutions for images."""

    width: Count = 128
    """Units of a dense layer; channels of the discriminator's first convolution."""

    stages: Positive = 3
    """Convolutions of the discriminator, and of a generator; each halves the size."""

    noise: Literal["normal", "uniform"] = "normal"
    """Distribution of the noise: N(0, I), or uniform over [-1, 1]."""

    noise_size: Count = 256
    """Numbers of noise that a generator is given."""

    init_deviation: NonNegativeFloat = 0.02
    """Standard deviation of the first weights."""


@dataclass(frozen=True)
class GameConfig:
    """Who plays, and for what."""

    game: Literal["mgan", "d2gan", "unrolled"] = "mgan"
    """MGAN (with one generator a plain GAN), D2GAN, or an Unrolled GAN."""

    generators: Count = 8
    """Number of generators K."""

    diversity: NonNegativeFloat = 0.125
    """Weight beta of the classifier's loss in that of the generators."""

    classifier_weight: NonNegativeFloat = 1.0
    """Weight of the classifier's loss in training the classifier."""

    generator_loss: Literal["nonsaturating", "saturating"] = "nonsaturating"
    """What generators minimise: - log D, or log(1 - D) as in Equation 2."""

    mixture: Literal["fixed", "learned"] = "fixed"
    """Weights pi of the generators: all 1 / K, or learned with the generators."""

    noise_of_step: Literal["fresh", "shared"] = "fresh"
    """Draw noise for each player's step, or once for both."""

    unrolled_steps: Positive = 5
    """Steps of the discriminator that an Unrolled GAN's generator looks ahead."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizers of the two players."""

    optimizer: OptimizerName = "adam"
    """The rule of both players, where one has none of its own."""

    generator_optimizer: OptimizerName | None = None
    """The rule of the generators, where it differs."""

    generator_rate: NonNegativeFloat = 2e-4
    """Learning rate of the generators."""

    discriminator_rate: NonNegativeFloat = 2e-4
    """Learning rate of discriminator and classifier."""

    momentum: BelowOne = 0.5
    """Decay b1 of Adam's and LAMB's first moment; the momentum of LARS."""

    second_momentum: BelowOne = 0.999
    """Decay b2 of Adam's and LAMB's second moment."""

    trust_coefficient: NonNegativeFloat = 1e-3
    """Trust coefficient eta; for `lars` alone."""

    weight_decay: NonNegativeFloat = 0.0
    """Weight decay beta of matrices; for `lars` and `lamb`."""

    warmup_steps: NonNegative = 0
    """Steps of linear warm-up."""

    decay_from: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Share of the run after which the rates fall to zero, linearly; 1: never."""


@dataclass(frozen=True)
class Config:
    """One game, complete: the same config and code give the same bits."""

    data: DataConfig = DataConfig()
    model: NetworkConfig = NetworkConfig()
    rules: GameConfig = GameConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    batch: Positive = 512
    """Real samples per step, B."""

    fakes: Positive = 128
    """Samples of each generator per step, M."""

    steps: Positive = 25_000
    """Steps of the game, each of which trains both sides once."""

    average_decay: BelowOne = 0.999
    """Decay of the moving average of the generators' weights; 0: no memory."""

    seed: Seed = 0
    """Seed of initial weights, data, and noise."""

    devices: Positive | None = None
    """Devices over which B and M are split; None: as many as divide both."""

    steps_per_call: Positive = 250
    """Steps in a call of the compiled program, which the host cannot interrupt."""

    eval_every: Positive = 1000
    """Steps between evaluations; the last step is always evaluated."""

    eval_samples: Positive = 10_000
    """Samples that an evaluation draws of the mixture."""

    checkpoint_every: Positive = 5000
    """Steps between checkpoints; the last step is always saved."""

    keep_every: Positive | None = None
    """Steps between checkpoints kept for good; None: only the last two and best."""

    init_from: PathText | None = None
    """File of generators that `export` wrote, to begin with; None: from the seed."""

    features: FeaturesText | None = None
    """FILE of Inception weights, or NETWORK:FILE of a classifier; judges images."""


def in_plane(config: Config) -> bool:
    """Return whether samples are points in the plane, not images.

    >>> in_plane(Config())
    True
    """
    return config.data.dataset in PLANE
