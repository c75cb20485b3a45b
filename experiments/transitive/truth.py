"""What crops show, where it is known: the demo renders it, ETH-80 says it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.transitive.photographs import CATEGORY, IDENTITY
from experiments.transitive.records import load_array


class Labels(NamedTuple):
    """What each node shows.

    Attributes:
        category: int32 [nodes].
        identity: int32 [nodes], which thing it is, another number for each of all.
    """

    category: np.ndarray
    identity: np.ndarray


def find_labels(stages: Mapping[str, Path], video: np.ndarray) -> Labels | None:
    """Return what nodes show, None where no stage knows.

    Args:
        stages: directories of stages by name; those of `videos` and `track` matter.
        video: int [nodes], the number of the video that each comes from.
    """
    for stage in ("track", "videos"):
        place = stages.get(stage)
        if place is not None and (place / CATEGORY).exists():
            category, identity = (
                load_array(place / name)[video] for name in (CATEGORY, IDENTITY)
            )
            return Labels(category, identity)
    return None
