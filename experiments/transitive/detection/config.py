"""The typed configuration of a detector; nothing else configures anything."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from experiments.transitive.detection.scores import Rule
from experiments.transitive.rule import RuleConfig
from experiments.transitive.trunk import TrunkConfig
from lars_jax.runs import (
    NonNegative,
    NonNegativeFloat,
    PathAfter,
    Positive,
    PositiveFloat,
    Seed,
)

Share = Annotated[float, Interval(ge=0, le=1)]
"""A share of a whole."""

Dataset = Annotated[str, PathAfter("(voc|coco):", moves=True)]
"""`voc:PATH` with a folder in the layout of PASCAL VOC, or `coco:PATH` with a folder
that has `annotations/instances_SPLIT.json` and a folder of pictures for each split."""


@dataclass(frozen=True)
class DataConfig:
    """The pictures, and the size at which the detector sees them."""

    dataset: Dataset = "voc:VOC2007"
    """`voc:PATH`, a folder in the layout of PASCAL VOC, or `coco:PATH`."""

    train_split: str = "trainval"
    """Pictures to train on."""

    test_split: str = "test"
    """Pictures to evaluate."""

    drop_copies: bool = False
    """Leave out pictures to train on that look like one to evaluate, as small sets from
    the web have."""

    short_side: Positive = 600
    """Pixels that the shorter side of a picture is resized to."""

    long_side: Positive = 1000
    """Most pixels of the longer side, for which the shorter one may be less."""

    flip: bool = True
    """Every other picture is mirrored, by chance, in training."""


@dataclass(frozen=True)
class ModelConfig(TrunkConfig):
    """The convolutions, and what is put on them."""

    detector: Literal["fast", "faster"] = "fast"
    """Fast R-CNN, on regions that selective search proposes, or Faster R-CNN, which
    learns to propose them."""

    frozen: str | None = None
    """Last layer that is not trained, as conv3_3; None: all are."""

    pooling: Literal["pool", "align"] = "pool"
    """What is read of a region: maxima of rounded bins, as the paper, or the mean of
    interpolated points."""

    cells: Positive = 7
    """Bins a side of a region."""


@dataclass(frozen=True)
class RegionConfig:
    """The regions of a picture that the head is trained on."""

    proposals: Positive = 2000
    """Most regions of a picture that are proposed in training."""

    test_proposals: Positive = 2000
    """Most regions of a picture that are proposed in evaluation: 300 of Faster R-CNN in
    the paper's code."""

    search: Literal["fast", "quality"] = "fast"
    """How selective search looks for them; quality finds three times as many."""

    search_side: NonNegative = 500
    """Shorter side that a larger picture is reduced to before the search, which would
    take minutes for a photograph of a telephone; 0: as it is."""

    regions: Positive = 64
    """Regions of a picture in a batch, in the paper's code 128 of two pictures, and of
    one with Faster R-CNN."""

    foreground_share: Share = 0.25
    """Most of them that show an object."""

    foreground: Share = 0.5
    """Overlap from which on a region shows an object."""

    background: tuple[float, float] = (0.1, 0.5)
    """Overlaps of regions that show none, the lower one included: (0, 0.5) of Faster
    R-CNN in the paper's code."""


@dataclass(frozen=True)
class ProposalConfig:
    """What Faster R-CNN proposes."""

    scales: tuple[float, ...] = (128.0, 256.0, 512.0)
    """Square roots of the areas of anchors, in pixels of the resized picture."""

    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Heights over widths of anchors."""

    hidden: Positive = 512
    """Channels of the convolution before the anchors' scores."""

    anchors: Positive = 256
    """Anchors of a picture that are trained on, half of them on objects if there are
    as many."""

    before: Positive = 12000
    """Best proposals among which suppression looks in training, twice as many as in
    evaluation."""

    proposal_overlap: Share = 0.7
    """Overlap above which the worse of two proposals is dropped."""

    least_side: NonNegativeFloat = 16.0
    """Shortest side of a proposal, in pixels of the resized picture."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What counts as a detection."""

    least_score: Share = 0.05
    """Probability below which nothing is reported."""

    detection_overlap: Share = 0.3
    """Overlap above which the worse of two detections of a class is dropped."""

    detections: Positive = 100
    """Most detections of a picture."""

    rule: Rule = "2007"
    """Average precision at 11 recalls, VOC 2007's, the whole area, VOC 2010's, or
    COCO's, whose mean over thresholds is told beside that at an overlap of 0.5."""


@dataclass(frozen=True)
class Config:
    """One detector, trained and evaluated: the same config, the same numbers."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    regions: RegionConfig = RegionConfig()
    proposals: ProposalConfig = ProposalConfig()
    optimizer: RuleConfig = RuleConfig(learning_rate=2.5e-4, drop_every=50_000)
    evaluation: EvaluationConfig = EvaluationConfig()

    global_batch: Positive = 2
    """Pictures in a batch, over all devices."""

    steps: Positive = 150_000
    """Updates."""

    clip: PositiveFloat | None = None
    """Largest norm of the gradient, which longer ones are scaled to; None: any."""

    seed: Seed = 0
    """Seed of everything that is drawn."""

    devices: Positive | None = None
    """Number of devices to use; None: all."""

    log_every: Positive = 20
    """Updates between rows of metrics."""

    eval_every: Positive = 10_000
    """Updates between evaluations and checkpoints; the last is always evaluated."""
