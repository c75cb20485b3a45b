"""Average precision by the rules of COCO, by pycocotools.

It differs from the rules of VOC in what a detection may come to: the object of highest
overlap among those that are still free, where VOC's may be taken already. It takes the
precision at 101 recalls, which is within 0.01 of the area of the 2010 rule: the best
precision falls with recall, so that its mean over all recalls but 0 is at most the
area, and over all but 1 at least.

Choices where its format leaves one:
  * Difficult objects are its crowds: they ask for the share of the detection that lies
    in them, not for intersection over union, and any number of detections may.
  * The area of an object is that of its box; the official numbers take its outline.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.transitive.detection.annotated import (
    Detections,
    Objects,
    check_detections,
)
from lars_jax.errors import InputError

MAX_DETECTIONS = 100
"""Detections of a class in a picture that count, by score (COCO's)."""


@dataclass(frozen=True)
class CocoPrecision:
    """COCO's six numbers, means over the classes that have objects; NaN where none has.

    Attributes:
        ap: mean over the thresholds 0.5, 0.55 ... 0.95.
        ap50: at threshold 0.5.
        ap75: at threshold 0.75.
        small: `ap` of objects of less than 32 x 32 pixels.
        medium: of those between.
        large: of those of more than 96 x 96.
        per_class: float64 [C], `ap` of each class; NaN for one without objects.
        per_class50: float64 [C], `ap50` of each.
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    per_class: np.ndarray
    per_class50: np.ndarray


def coco_average_precision(
    detections: Sequence[Detections], truths: Sequence[Objects], *, num_classes: int
) -> CocoPrecision:
    """Return the average precision of detections in pictures as COCO computes it.

    Args:
        detections: of each picture.
        truths: the objects of each picture, in the same order.
        num_classes: C.

    Raises:
        InputError: pycocotools is not installed, or what `check_detections` refuses.

    Reference:
        Lin et al.: Microsoft COCO: Common Objects in Context, 2014;
        https://cocodataset.org/#detection-eval

    A box of overlap 0.64 passes three of the ten thresholds:

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
    >>> scores = coco_average_precision([found], [truth], num_classes=1)
    >>> round(scores.ap, 3), round(scores.ap50, 3), scores.ap75
    (0.3, 1.0, 0.0)
    """
    check_detections(detections, truths, num_classes)
    coco, evaluation = _import()
    # It prints, whoever listens.
    with contextlib.redirect_stdout(io.StringIO()):
        found = evaluation(
            _dataset(coco, truths, num_classes, None),
            _dataset(coco, detections, num_classes, [d.scores for d in detections]),
            "bbox",
        )
        found.evaluate()
        found.accumulate()
        found.summarize()
    # -1 stands for what there is not; axes are thresholds, recalls, classes, sizes and
    # numbers of detections, of which the first size and the last number are all.
    precision = found.eval["precision"][:, :, :, 0, -1]
    numbers = (float(n) if n > -1 else float("nan") for n in found.stats[:6])
    return CocoPrecision(
        *numbers,
        per_class=np.array([_mean(precision[:, :, k]) for k in range(num_classes)]),
        per_class50=np.array([_mean(precision[0, :, k]) for k in range(num_classes)]),
    )


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else float("nan")


def _dataset(
    coco: Any,
    pictures: Sequence[Objects] | Sequence[Detections],
    num_classes: int,
    scores: Sequence[np.ndarray] | None,
) -> Any:
    rows: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        corners = np.asarray(picture.boxes, np.float64)
        crowd = picture.difficult if isinstance(picture, Objects) else None
        for k, (x1, y1, x2, y2) in enumerate(corners.tolist()):
            row = {
                # From 1 on, as 0 stands for no match.
                "id": len(rows) + 1,
                "image_id": number,
                "category_id": int(picture.classes[k]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0 if crowd is None else int(crowd[k]),
            }
            if scores is not None:
                row["score"] = float(scores[number][k])
            rows.append(row)
    made = coco()
    made.dataset = {
        "images": [{"id": number} for number in range(len(pictures))],
        "categories": [{"id": number} for number in range(num_classes)],
        "annotations": rows,
    }
    made.createIndex()
    return made


def _import() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError(
            "COCO's average precision needs the library pycocotools; it is not "
            "installed: pip install -e '.[transfer]'"
        ) from error
    return COCO, COCOeval
