"""How many objects proposals can find at all."""

from collections.abc import Sequence

import numpy as np

from experiments.transitive.detection.annotated import Objects
from experiments.transitive.detection.average_precision import overlaps
from lars_jax.errors import InputError


def proposal_recall(
    proposals: Sequence[np.ndarray],
    truths: Sequence[Objects],
    *,
    threshold: float = 0.5,
) -> float:
    """Return the share of objects that a proposal overlaps, difficult ones apart.

    Args:
        proposals: float [N, 4] for each picture.
        truths: the objects of each picture, in the same order.
        threshold: intersection over union from which on a proposal counts.

    Returns:
        In 0 .. 1; NaN where there are no objects.

    Raises:
        InputError: another number of pictures.

    >>> truth = Objects(
    ...     boxes=np.array([[0, 0, 4, 4], [5, 5, 9, 9]]),
    ...     classes=np.array([0, 1]),
    ...     difficult=np.array([False, False]),
    ... )
    >>> proposal_recall([np.array([[0, 0, 4, 3], [5, 7, 9, 8]])], [truth])
    0.5
    """
    if len(proposals) != len(truths):
        raise InputError(
            f"every picture has proposals; got those of {len(proposals)} for "
            f"{len(truths)} pictures: pass an empty array where there are none"
        )
    found = total = 0
    for boxes, truth in zip(proposals, truths, strict=True):
        wanted = truth.boxes[~truth.difficult]
        near = overlaps(wanted, boxes).max(axis=1, initial=0.0)
        found += int((near >= threshold).sum())
        total += len(wanted)
    return found / total if total else float("nan")
