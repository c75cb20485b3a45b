"""What networks are carried to, and for how long they are trained there."""

from dataclasses import dataclass
from typing import Literal

from experiments.transitive.detection.config import Dataset
from lars_jax.runs import PathText, Positive

Block = Literal[0, 1, 2, 3, 4, 5]
"""How many blocks of convolutions stay as they are."""


@dataclass(frozen=True)
class Plan:
    """What networks are carried to, and for how long they are trained there."""

    tables: tuple[Literal[1, 2, 3, 5], ...] = (1, 2, 3, 5)
    """Tables of the paper; Table 4 needs COCO."""
    seeds: Positive = 3
    """Runs of each cell, with seeds from that of the configuration on."""
    frozen: tuple[Block, ...] = (0, 3, 5)
    """Columns of Table 3: blocks of convolutions that are not trained; 0 is always one
    of them."""
    dataset: Dataset = "voc:raccoon"
    """Annotated pictures of Tables 1 to 3, as of `detection`."""
    frames: PathText = "nyuv2"
    """NYUv2 of Table 5, as of `normals`."""
    splits: PathText | None = None
    """Of a .mat file of NYUv2, as of `normals`."""
    detector_steps: Positive = 500
    """Updates of each detector, in place of its preset's."""
    normals_steps: Positive = 400
    """Updates of each network of normals, in place of its preset's."""
