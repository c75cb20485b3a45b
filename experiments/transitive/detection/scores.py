"""What detections are worth, by the rule that is asked for."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from experiments.transitive.detection.annotated import Detections, Objects
from experiments.transitive.detection.average_precision import average_precision

Rule = Literal["2007", "2010", "coco"]


def score_detections(
    detections: Sequence[Detections],
    truths: Sequence[Objects],
    class_names: Sequence[str],
    rule: Rule,
) -> dict[str, float]:
    """Return average precision by name, in 0 .. 1.

    Args:
        detections: of each picture.
        truths: the objects of each picture, in the same order.
        class_names: the classes.
        rule: VOC's of 2007 or 2010, or COCO's.

    Returns:
        `ap50`, at an overlap of one half, and `ap50/NAME` of each class with objects,
        if there are several; with COCO's rule also `ap`, the mean over its thresholds,
        and `ap75`.

    Raises:
        InputError: what `average_precision` or `coco_average_precision` refuses.

    >>> truth = Objects(
    ...     boxes=np.array([[0.0, 0, 10, 10]]),
    ...     classes=np.array([0]),
    ...     difficult=np.array([False]),
    ... )
    >>> found = Detections(
    ...     boxes=np.array([[0.0, 0, 8, 8]]),
    ...     scores=np.array([0.9]),
    ...     classes=np.array([0]),
    ... )
    >>> score_detections([found], [truth], ["cat"], "2007")
    {'ap50': 1.0}
    """
    count = len(class_names)
    if rule == "coco":
        from experiments.transitive.detection.coco import coco_average_precision

        found = coco_average_precision(detections, truths, num_classes=count)
        scores = {"ap50": found.ap50, "ap": found.ap, "ap75": found.ap75}
        per_class = found.per_class50
    else:
        scored = average_precision(detections, truths, num_classes=count, rule=rule)
        scores, per_class = {"ap50": scored.mean}, scored.per_class
    return scores | {
        f"ap50/{name}": float(value)
        for name, value in zip(class_names, per_class, strict=True)
        if np.isfinite(value) and count > 1
    }
