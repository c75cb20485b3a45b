"""The typed configuration of the whole pipeline; nothing else configures anything.

Each section belongs to one stage, whose manifest has its digest: a stage runs again
where its own section, or a stage before it, has changed.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from lars_jax.runs import (
    BelowOne,
    NonNegative,
    NonNegativeFloat,
    PathAfter,
    Positive,
    PositiveFloat,
    Seed,
)

Share = Annotated[float, Interval(ge=0, le=1)]
"""A share of a whole."""

Videos = Annotated[str, PathAfter("(eth80|folder):")]
"""`demo`, clips that are rendered; `folder:PATH`, with videos at any depth; or
`eth80:FILE`, photographs of objects from many sides."""


@dataclass(frozen=True)
class VideoConfig:
    """Where raw video comes from."""

    videos: Videos = "demo"
    """`demo` (rendered from embedded pixels), `folder:PATH` of videos at any depth, or
    `eth80:FILE`, photographs of objects from many sides in place of video."""

    clips: Positive = 24
    """Clips that the demo renders."""

    clip_frames: Positive = 90
    """Frames of each clip that the demo renders."""

    turn: PositiveFloat = 67.5
    """Degrees between the two ends of a track of photographs."""


@dataclass(frozen=True)
class MiningConfig:
    """Moving objects: which frames are looked at, and what of them is kept."""

    stride: Positive = 10
    """Frames between two that are looked at."""

    frame_height: Positive = 448
    """Height that a frame is resized to, in pixels; of an upright video the width."""

    frame_width: Positive = 600
    """Width that a frame is resized to, in pixels; of an upright video the height."""

    window: Positive = 227
    """Side of the box around what moves most, in pixels of the resized frame."""

    moving: PositiveFloat = 0.5
    """Flow beyond the camera's from which a point moves, in pixels a frame."""

    least_moving: Share = 0.25
    """Share of moving points below which a frame shows noise."""

    most_moving: Share = 0.75
    """Share of moving points above which the camera moves, or the scene changes."""

    ties: Literal["first", "middle"] = "first"
    """Of several best boxes the first in raster order, or the one amid them."""

    boxes: Positive = 1
    """Most boxes of a frame: where most points move, and apart from there, with half as
    many moving points at least. The paper's frames have one."""

    cut: Share = 0.5
    """Least overlap of the colour histograms of two frames without a cut between."""

    tracks: Positive = 100
    """Most tracks that are begun in a video."""


@dataclass(frozen=True)
class TrackingConfig:
    """Each box followed over time: the other end is the same object, seen otherwise."""

    track_frames: Positive = 30
    """Frames from a box to its tracked end; 15 in the paper's ablation."""

    crop: Positive = 96
    """Side of the crops that are kept, in pixels."""

    quality: Annotated[int, Interval(ge=1, le=100)] = 95
    """JPEG quality of the crops."""


@dataclass(frozen=True)
class FrameConfig:
    """Frames of the videos that serve as photographs for context prediction."""

    frame_stride: Positive = 15
    """Frames between two that are taken."""

    most_frames: Positive = 10
    """Most frames that are taken of a video."""


@dataclass(frozen=True)
class ContextConfig:
    """Context prediction: which of the eight neighbours is the other patch?"""

    patch: Positive = 96
    """Side of a patch, in pixels."""

    gap: NonNegative = 48
    """Pixels between neighbouring patches."""

    jitter: NonNegative = 7
    """Most pixels that a patch is moved by, in each direction."""

    least_pixels: Positive = 150_000
    """Pixels of the smallest size that a photograph is resized to."""

    most_pixels: Positive = 450_000
    """Pixels of the largest size that a photograph is resized to."""

    blur: Share = 0.33
    """Share of patches that are scaled down and back, which hides chromatic noise."""

    context_batch: Positive = 256
    """Pairs of patches in a batch."""

    context_steps: Positive = 1_000_000
    """Updates of the context network."""

    context_optimizer: Literal["lars", "sgd", "adam"] = "sgd"
    """Rule of the context network."""

    context_rate: NonNegativeFloat = 1e-3
    """Peak learning rate of the context network."""


@dataclass(frozen=True)
class FeatureConfig:
    """What crops are compared by before anything is learned from video."""

    features: Literal["context", "hog"] = "context"
    """The last layer of the context network's convolutions, pool5 of VGG16, or
    histograms of oriented gradients, the paper's ablation."""

    components: Positive | None = None
    """Principal components that parents and candidates are found by; None: all."""

    mirrored: bool = False
    """Features are the mean of a crop's and of its mirror image's."""


@dataclass(frozen=True)
class ClusterConfig:
    """Parents, which are k-means clusters, and the child clusters within them."""

    parents: Positive = 5000
    """Clusters K of k-means."""

    least_members: Positive = 100
    """Members below which a parent is dropped."""

    neighbours: Positive = 10
    """Nearest neighbours that each sample has in its parent."""

    clique: Annotated[int, Interval(ge=2, le=6)] = 4
    """Samples of a child cluster, each among the neighbours of all others."""

    overlap: Literal["all", "greedy"] = "all"
    """All child clusters, or disjoint ones, the closest first."""

    apart: Literal["track", "video", "nothing"] = "video"
    """Samples of the same track, or video, are no neighbours of one another."""

    exact_below: Positive = 50_000
    """Members up to which neighbours are exact; beyond, an inverted file finds them."""

    probes: Positive = 64
    """Cells of an inverted file that are looked into for the neighbours of a sample."""


@dataclass(frozen=True)
class ModelConfig:
    """The network of context prediction and of the triplets."""

    network: Literal["vgg16", "small"] = "vgg16"
    """VGG16, or four convolutions of 32, 64, 96 and 128 channels, for small images."""

    width: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Share of the channels, and of the units of the heads."""

    image_size: Positive | None = None
    """Pixels a side of the images that it is shown; None: those of a crop."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations and products; parameters stay float32."""


@dataclass(frozen=True)
class TripletConfig:
    """The ranking of pairs: what belongs together is closer than what does not."""

    embedding: Positive = 1024
    """Units of the last layer, whose cosine is compared."""

    hidden: Positive = 4096
    """Units of the layer before it."""

    last_relu: bool = True
    """Whether a ReLU ends the network."""

    margin: NonNegativeFloat = 0.5
    """Margin m by which a negative must be farther than a positive."""

    transitive_share: Share = 7 / 9
    """Share of pairs of two tracks in a batch; the others are intra pairs."""

    across: Literal["transitive", "inter", "both"] = "transitive"
    """Pairs of two tracks that a batch has: transitive ones, inter ones, or both."""

    negatives: Literal["random", "half_hard", "hardest", "all"] = "random"
    """Negatives of a pair: one of the batch at random; two at random and the two
    hardest; the hardest share; or all."""

    hardest_share: Annotated[float, Interval(gt=0, le=1)] = 0.5
    """Share of its legal negatives that count as a pair's hardest."""

    other_parents: bool = True
    """Negatives are of other parents only."""

    global_batch: Positive = 100
    """Images in a batch, two of each pair."""

    steps: Positive = 200_000
    """Updates of the triplet network."""

    optimizer: Literal["sgd", "lars", "lamb", "adam"] = "sgd"
    """Rule of the triplet network."""

    learning_rate: NonNegativeFloat = 1e-3
    """Peak learning rate."""

    warmup_steps: NonNegative = 0
    """Steps of linear warm-up."""

    momentum: BelowOne = 0.9
    """Momentum."""

    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay beta."""

    least_part: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Least share of an image's sides that a random part of it has; 1: all of it, but
    images are mirrored."""

    colour_jitter: NonNegativeFloat = 0.0
    """Logarithm of the largest change of saturation, contrast and brightness."""

    init: Literal["context", "random"] = "context"
    """Convolutions of the context network, or drawn from the seed."""

    context_weight: NonNegativeFloat = 0.0
    """Weight of the loss of context prediction beside the ranking's, on the same
    convolutions; 0: none of it."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What the features are tried on."""

    photographs: Annotated[str, PathAfter("(eth80|folder):")] = "none"
    """`none`, `eth80:FILE`, or `folder:PATH` of labelled photographs by class; those of
    `--videos eth80:FILE` where none are named."""

    mirrored_too: bool = False
    """Try the mean of an image's features and its mirror image's, too."""

    nearest: Positive = 5
    """Neighbours k of the k-NN classifier."""

    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.3
    """Share of the objects, or images, of each class that are tested on."""

    tuning: bool = False
    """Test on a share of the others instead, to choose settings by; nothing sees those
    that are held out."""


@dataclass(frozen=True)
class Config:
    """One run of the pipeline, complete: the same config and code, the same files."""

    video: VideoConfig = VideoConfig()
    mining: MiningConfig = MiningConfig()
    tracking: TrackingConfig = TrackingConfig()
    frames: FrameConfig = FrameConfig()
    context: ContextConfig = ContextConfig()
    features: FeatureConfig = FeatureConfig()
    clusters: ClusterConfig = ClusterConfig()
    model: ModelConfig = ModelConfig()
    triplet: TripletConfig = TripletConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    seed: Seed = 0
    """Seed of everything that is drawn."""

    devices: Positive | None = None
    """Number of devices to use; None: all."""

    @property
    def of_photographs(self) -> bool:
        """Whether photographs of objects take the place of video."""
        return self.video.videos.startswith("eth80:")

    @property
    def uses_context(self) -> bool:
        """Whether anything is made of context prediction alone."""
        return "context" in (self.features.features, self.triplet.init)
