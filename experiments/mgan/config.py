"""The typed configuration of one game; nothing else configures anything.

The command line, the presets and a run's `config.json` all hold this one frozen
dataclass. Every field carries its meaning, which `--help` prints.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

OptimizerName = Literal["adam", "lars", "lamb"]

PLANE = ("ring", "grid")
"""Data sets that are drawn, in the plane; all others are images."""


@dataclass(frozen=True)
class DataConfig:
    """What the generators are to imitate."""

    dataset: str = "ring"
    """`ring` or `grid` of Gaussians; images: `digits`, a TFDS name, `folder:PATH`."""

    modes: int = 8
    """Gaussians of a ring or a grid."""

    extent: float = 2.0
    """Radius of the ring, or half the side of the grid."""

    variance: float = 0.02
    """Variance of each Gaussian along either axis."""

    shares: Literal["even", "rising"] = "even"
    """Shares of the Gaussians: all the same, or 1, 2, 3 ... in proportion."""

    data_dir: str | None = None
    """Where prepared TFDS data sets lie; else $TFDS_DATA_DIR, else TFDS's default."""

    split: str = "train"
    """Name of the split of images."""

    image_size: int = 32
    """Height and width of images, in pixels; others are resized to it."""


@dataclass(frozen=True)
class NetworkConfig:
    """The networks of all players."""

    network: Literal["plane", "dcgan"] = "plane"
    """Dense layers for points in the plane, or convolutions for images."""

    width: int = 128
    """Units of a dense layer; channels of the discriminator's first convolution."""

    stages: int = 3
    """Convolutions of the discriminator, and of a generator; each halves the size."""

    noise: Literal["normal", "uniform"] = "normal"
    """Distribution of the noise: N(0, I), or uniform over [-1, 1]."""

    noise_size: int = 256
    """Numbers of noise that a generator is given."""

    init_deviation: float = 0.02
    """Standard deviation of the first weights."""


@dataclass(frozen=True)
class GameConfig:
    """Who plays, and for what."""

    game: Literal["mgan", "d2gan", "unrolled"] = "mgan"
    """MGAN (with one generator a plain GAN), D2GAN, or an Unrolled GAN."""

    generators: int = 8
    """Number of generators K."""

    diversity: float = 0.125
    """Weight beta of the classifier's loss in that of the generators."""

    classifier_weight: float = 1.0
    """Weight of the classifier's loss in training the classifier."""

    generator_loss: Literal["nonsaturating", "saturating"] = "nonsaturating"
    """What generators minimise: - log D, or log(1 - D) as in Equation 2."""

    mixture: Literal["fixed", "learned"] = "fixed"
    """Weights pi of the generators: all 1 / K, or learned with the generators."""

    noise_of_step: Literal["fresh", "shared"] = "fresh"
    """Draw noise for each player's step, or once for both."""

    unrolled_steps: int = 5
    """Steps of the discriminator that an Unrolled GAN's generator looks ahead."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizers of the two players."""

    optimizer: OptimizerName = "adam"
    """The rule of both players, where one has none of its own."""

    generator_optimizer: OptimizerName | None = None
    """The rule of the generators, where it differs."""

    generator_rate: float = 2e-4
    """Learning rate of the generators."""

    discriminator_rate: float = 2e-4
    """Learning rate of discriminator and classifier."""

    momentum: float = 0.5
    """Decay b1 of Adam's and LAMB's first moment; the momentum of LARS."""

    second_momentum: float = 0.999
    """Decay b2 of Adam's and LAMB's second moment."""

    trust_coefficient: float = 1e-3
    """Trust coefficient eta; for `lars` alone."""

    weight_decay: float = 0.0
    """Weight decay beta of matrices; for `lars` and `lamb`."""

    warmup_steps: int = 0
    """Steps of linear warm-up."""

    decay_from: float = 1.0
    """Share of the run after which the rates fall to zero, linearly; 1: never."""


@dataclass(frozen=True)
class Config:
    """One game, complete: the same config and code give the same bits."""

    data: DataConfig = DataConfig()
    model: NetworkConfig = NetworkConfig()
    rules: GameConfig = GameConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    batch: int = 512
    """Real samples per step, B."""

    fakes: int = 128
    """Samples of each generator per step, M."""

    steps: int = 25_000
    """Steps of the game, each of which trains both sides once."""

    average_decay: float = 0.999
    """Decay of the moving average of the generators' weights; 0: no memory."""

    seed: int = 0
    """Seed of initial weights, data, and noise."""

    devices: int | None = None
    """Devices over which B and M are split; None: as many as divide both."""

    steps_per_call: int = 250
    """Steps in a call of the compiled program, which the host cannot interrupt."""

    eval_every: int = 1000
    """Steps between evaluations; the last step is always evaluated."""

    eval_samples: int = 10_000
    """Samples that an evaluation draws of the mixture."""

    checkpoint_every: int = 5000
    """Steps between checkpoints; the last step is always saved."""

    features: str | None = None
    """FILE of Inception weights, or NETWORK:FILE of a classifier; judges images."""


def replace(config: Config, **changes: object) -> Config:
    """Return `config` with fields changed, wherever in its sections they live.

    Field names are unique over all sections, as on the command line.

    Raises:
        TypeError: a name that no section has.

    >>> replace(Config(), generators=4, steps=10).rules.generators
    4
    """
    sections: dict[str, object] = {}
    for section in ("data", "model", "rules", "optimizer"):
        value = getattr(config, section)
        names = {field.name for field in dataclasses.fields(value)}
        own = {name: changes.pop(name) for name in names & changes.keys()}
        sections[section] = dataclasses.replace(value, **own)
    return dataclasses.replace(config, **sections, **changes)


def in_plane(config: Config) -> bool:
    """Return whether samples are points in the plane, not images.

    >>> in_plane(Config())
    True
    """
    return config.data.dataset in PLANE
