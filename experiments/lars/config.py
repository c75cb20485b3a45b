"""The typed configuration of one training run; nothing else configures anything.

The command line, the presets, the notebook and a run's `config.json` all hold this one
frozen dataclass. Every field carries its meaning, which `--help` prints.
"""

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
    PathText,
    Positive,
    Seed,
)

NetworkName = Literal[
    "alexnet",
    "alexnet_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]

OptimizerName = Literal["lars", "sgd", "nesterov", "lamb"]
VariantName = Literal[
    "paper",
    "optax",
    "larc_clip",
    "larc_apex_clip",
    "larc_apex_scale",
    "mlperf_scaled",
    "tf_contrib",
    "simclr_popular",
    "byol",
]
"""The names of `lars_jax.optim.VARIANTS`."""


@dataclass(frozen=True)
class DataConfig:
    """What the network is shown."""

    dataset: DatasetName = "digits"
    """`digits` (embedded), any TFDS name such as `cifar10`, or `folder:PATH`."""

    data_dir: DataDirectory | None = None
    """Where prepared TFDS data sets lie; else $TFDS_DATA_DIR, else TFDS's default."""

    train_split: str = "train"
    """Name of the split to train on."""

    test_split: str = "test"
    """Name of the split that evaluation counts every example of."""

    holdout: NonNegative = 0
    """Training examples set aside and evaluated in place of the test split; 0: none."""

    image_size: Positive = 8
    """Height and width that the network sees, in pixels."""

    resize: Positive | None = None
    """Resize every image to this square on the host first; None keeps its own size."""

    evaluation_fit: Literal["warp", "short_side"] = "warp"
    """How images that are evaluated become that square: warped, or the middle of them
    once their short side has its length, as torchvision, timm and MLPerf evaluate."""

    crop_padding: NonNegative = 1
    """Zero pixels added on each side before the crop of --augmentation crop, which
    alone has them."""

    flip: bool = False
    """Mirror each training image left to right with probability one half."""

    augmentation: Literal["none", "crop", "random_resized_crop"] = "crop"
    """How training images vary; evaluation takes the centre crop."""

    scaling: Literal["standard", "caffe"] = "standard"
    """Pixels to unit deviation, or only less their mean, as 0 to 255 (Caffe)."""

    placement: Literal["auto", "device", "host"] = "auto"
    """Keep the whole data set on the device, or feed it; auto: device up to 1 GiB."""


@dataclass(frozen=True)
class ModelConfig:
    """The network that is trained."""

    network: NetworkName = "resnet20"
    """AlexNet or ResNet; small images choose the small form of the same network."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations and products; parameters stay float32."""

    stride_in: Literal["1x1", "3x3"] = "1x1"
    """Where a bottleneck halves the image: 1x1 is ResNet v1, 3x3 is v1.5 (MLPerf)."""

    width: Annotated[float, Interval(gt=0, le=16)] = 1.0
    """Channels of a ResNet over those of the paper."""

    stem_stride: Literal[1, 2, 4] = 1
    """Stride of the first convolution of a ResNet on images of at most 64 pixels."""

    bn_span: Positive | Literal["per_device", "global"] = "global"
    """Ghost batch size, examples normalised together: a number, a device's, or all."""

    batch_statistics: Literal["auto", "running", "estimated"] = "auto"
    """Statistics of evaluation; auto estimates anew in runs under 1000 steps."""

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network normalises over examples."""
        return self.network != "alexnet"

    @property
    def span(self) -> int | None:
        """Ghost batch size as networks take it; None: all examples of a batch.

        >>> print(ModelConfig().span, ModelConfig(bn_span=64).span)
        None 64
        """
        if self.bn_span == "global" or not self.has_batch_norm:
            return None
        if self.bn_span == "per_device":
            raise AssertionError("a span per device becomes a number once devices are")
        return self.bn_span


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its schedule: linear warm-up, then polynomial decay."""

    optimizer: OptimizerName = "lars"
    """LARS in the form that `variant` names, or one of three controls."""

    variant: VariantName = "paper"
    """Published form of LARS, one of `lars_jax.VARIANTS`; for `lars` alone."""

    learning_rate: NonNegativeFloat = 2.0
    """Peak global learning rate (gamma), for the global batch as configured."""

    end_learning_rate: NonNegativeFloat = 0.0
    """Learning rate at which the polynomial decay ends."""

    decay_power: NonNegativeFloat = 2.0
    """Power of the polynomial decay."""

    decay_from: Literal["start", "warmup"] = "start"
    """Decay over the whole run (the paper's formula), or over what follows warm-up."""

    warmup_epochs: NonNegativeFloat = 0.0
    """Epochs of linear warm-up."""

    warmup_start: NonNegativeFloat = 0.0
    """Learning rate at step 0 of the warm-up."""

    momentum: BelowOne = 0.9
    """Momentum m; for `lamb` the decay b1 of its first moment."""

    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay beta; `lamb` adds it to Adam's direction, which wants more."""

    trust_coefficient: NonNegativeFloat = 1e-3
    """Trust coefficient eta; for `lars` alone."""

    excluded: Literal["none", "bias_and_norm"] = "none"
    """Leaves neither adapted nor decayed: none (paper), or biases and BN (MLPerf)."""


@dataclass(frozen=True)
class Config:
    """One training run, complete: the same config and code give the same bits."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    global_batch: Positive = 256
    """Examples per update, over all devices and micro-batches."""

    microbatches: Positive | Literal["auto"] = "auto"
    """Parts of a batch, accumulated one by one; auto: as few as fit a device."""

    device_memory: BoundedFloat | None = None
    """Memory of a device in GiB, for microbatches auto; None: what it has."""

    epochs: BoundedFloat = 40.0
    """Length of the run, in passes over the training examples."""

    steps: Positive | None = None
    """Length of the run in updates instead of epochs."""

    label_smoothing: BelowOne = 0.0
    """Share of the target spread evenly over all classes."""

    init_from: PathText | None = None
    """File of weights that `export` wrote, to begin with; None: drawn from the seed."""

    seed: Seed = 0
    """Seed of initial weights, data order, augmentation and dropout."""

    backend: Literal["jit", "shard_map", "pmap"] = "jit"
    """How a step is spread over devices; the three give the same numbers."""

    gradient_sums: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type that gradients are summed in over devices, by every back-end; bfloat16, half
    of what is sent, goes with --dtype bfloat16 alone. Auto: float32, but on GPUs under
    jit, which would copy activations for it, that of --dtype."""

    devices: Positive | None = None
    """Number of devices to use; None: all."""

    state_sharding: Literal["none", "zero1", "fsdp"] = "none"
    """Split over devices: zero1 the optimizer's state, fsdp the parameters too."""

    steps_per_call: Positive = 1
    """Updates that the devices make at a time, without a word from the host; log_every
    and the whole run are multiples, evaluations and checkpoints fall on one."""

    log_every: Positive = 1
    """Updates between rows of metrics."""

    eval_every: BoundedFloat = 5.0
    """Epochs between evaluations; the last step is always evaluated."""

    eval_batch: Positive = 1024
    """Examples per evaluation batch."""

    checkpoint_every: BoundedFloat = 5.0
    """Epochs between checkpoints; the last step is always saved."""

    keep_every: BoundedFloat | None = None
    """Epochs between checkpoints kept for good; None: only the last two and best."""

    @property
    def parts(self) -> int:
        """Number of micro-batches, once it is one."""
        if self.microbatches == "auto":
            raise AssertionError("auto becomes a number once memory is known")
        return self.microbatches

    def total_steps(self, examples: int) -> int:
        """Return the updates of the whole run.

        Args:
            examples: that are trained on.

        >>> Config(epochs=40.0).total_steps(1437)
        225
        """
        if self.steps is not None:
            return self.steps
        return max(1, round(self.epochs * (examples / self.global_batch)))


@dataclass(frozen=True)
class Grid:
    """What `compare` compares, and how much tuning each cell may have."""

    optimizers: tuple[Literal[OptimizerName, VariantName], ...] = ("lars", "nesterov")
    """Optimizers to compare; the name of a variant is LARS in that form."""

    batches: tuple[int, ...] = (64, 256, 1024)
    """Global batch sizes."""

    seeds: Positive = 3
    """Runs of each cell at its best rate, evaluated on the test split."""

    trials: Annotated[int, Interval(gt=0, le=1000)] = 5
    """Learning rates tried for each cell, on held-out training examples."""

    tuning_holdout: Positive = 200
    """Training examples held out for tuning."""

    rate_span: Annotated[float, Interval(ge=1, le=1e6)] = 16.0
    """Ratio of the highest rate tried to the lowest, spaced evenly in the logarithm."""

    widen: NonNegative = 0
    """Rates tried beyond these, one by one, while the best lies at an edge."""

    hours: BoundedFloat | None = None
    """No run begins after so many; the same command with --run-dir goes on. None: all
    run."""


def rule_name(config: OptimizerConfig) -> str:
    """Return the name of an optimizer, with its variant where that is not the paper's.

    >>> rule_name(OptimizerConfig(variant="byol"))
    'lars (byol)'
    """
    plain = config.optimizer != "lars" or config.variant == "paper"
    return config.optimizer if plain else f"{config.optimizer} ({config.variant})"
