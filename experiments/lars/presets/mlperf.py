"""The ten reference convergence points of MLPerf Training 2.0 for ResNet-50 with LARS.

ResNet-50 v1.5 on Inception-style crops with label smoothing 0.1, evaluated on the
middle of images whose short side has 256 pixels; neither biases nor batch normalisation
are adapted or decayed. The quality target is 75.9 % top-1.

Crops are of 8 to 100 % of the area, drawn ten times at most, resized by antialiased
bilinear filtering and scaled to unit deviation; the TensorFlow 2 reference of
mlcommons/training draws 5 to 100 %, a hundred times at most, around annotated boxes,
filters without antialiasing, and subtracts the mean alone.

The published numbers of decay steps include the warm-up at some batches and not at
others, so a run here is as long as the slowest published one took to the target: the
decay to 1e-4 ends there.
"""

from typing import NamedTuple

from experiments.lars.config import Config
from experiments.lars.presets.imagenet import IMAGENET, with_batch
from lars_jax.runs import Preset
from lars_jax.train.config import replace_fields

SOURCE = (
    "https://github.com/mlcommons/logging/blob/master/"
    "mlperf_logging/rcp_checker/training_2.0.0/rcps_resnet.json"
)

BASE = replace_fields(
    IMAGENET,
    network="resnet50",
    stride_in="3x3",
    image_size=224,
    augmentation="random_resized_crop",
    evaluation_fit="short_side",
    label_smoothing=0.1,
    end_learning_rate=1e-4,
    decay_from="warmup",
    excluded="bias_and_norm",
)


class Point(NamedTuple):
    """One reference point; `bn_span` is the ghost batch size."""

    batch: int
    rate: float
    warmup_epochs: float
    momentum: float
    weight_decay: float
    bn_span: int
    epochs: tuple[int, int]
    """Epochs to the target: of the fastest and of the slowest run."""


POINTS = (
    Point(1632, 7.4, 2, 0.9, 5e-5, 204, (33, 37)),
    Point(3264, 10.5, 2, 0.9, 5e-5, 204, (34, 37)),
    Point(4096, 10.0, 5, 0.9, 2e-4, 64, (39, 42)),
    Point(8192, 17.0, 5, 0.9, 2e-4, 64, (41, 44)),
    Point(13056, 12.8, 9, 0.9, 2.5e-5, 204, (44, 46)),
    Point(32768, 21.2, 16, 0.94, 2.5e-5, 128, (55, 57)),
    Point(35840, 21.9, 17, 0.94, 2.5e-5, 35, (60, 60)),
    Point(49152, 19.405, 24, 0.951807, 1e-4, 256, (67, 69)),
    Point(58880, 23.246, 29, 0.951807, 1e-4, 230, (78, 81)),
    Point(65536, 24.699, 31, 0.951807, 1e-4, 128, (83, 86)),
)


def _preset(point: Point) -> Preset[Config]:
    config = replace_fields(
        BASE,
        learning_rate=point.rate,
        warmup_epochs=float(point.warmup_epochs),
        momentum=point.momentum,
        weight_decay=point.weight_decay,
        bn_span=point.bn_span,
        epochs=float(point.epochs[1]),
    )
    fastest, slowest = point.epochs
    span = f"{fastest}-{slowest}" if fastest < slowest else f"{slowest}"
    return Preset(
        name=f"mlperf_{point.batch}",
        config=with_batch(config, point.batch),
        reproduces=f"MLPerf Training 2.0, resnet_ref_{point.batch}",
        expected=f"75.9 % top-1 in {span} epochs",
        source=SOURCE,
        note="length of the decay chosen: that of the slowest published run",
    )


MLPERF: tuple[Preset, ...] = tuple(_preset(point) for point in POINTS)
"""The presets of MLPerf, by batch."""
