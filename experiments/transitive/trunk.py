"""What every network on the pipeline's convolutions is told of them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from lars_jax.runs import BelowOne, PathText, Positive, PositiveFloat


@dataclass(frozen=True)
class TrunkConfig:
    """The convolutions, and the two wide layers on them."""

    network: Literal["vgg16", "small"] = "vgg16"
    """VGG16, or four convolutions of 32, 64, 96 and 128 channels."""

    width: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Share of the channels, and of the units of fc6 and fc7."""

    units: Positive = 4096
    """Units of fc6 and fc7."""

    dropout: BelowOne = 0.5
    """Share of the units of fc6 and fc7 that is dropped in training."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations and products; parameters stay float32."""

    init_from: PathText | None = None
    """File of weights that the convolutions begin with, of the pipeline's triplet or
    context network; None: drawn from the seed."""

    shown_rms: PositiveFloat = 1.0
    """Root mean square of the pixels that those convolutions were shown: 50 where they
    began with context prediction's."""

    rescale: bool = True
    """Scale each of those convolutions, so that what it puts out has a root mean square
    of 1 on the first training pictures."""
