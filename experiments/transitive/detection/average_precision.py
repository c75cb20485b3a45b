"""Average precision by the rules of the PASCAL VOC development kit.

Detections of a class go by falling score. Each looks for the object of its class, in
its picture, of highest intersection over union. At the threshold or above, the first
that comes to an object is right and every further one wrong, even where another object
next to it is still free; one that comes to a difficult object is neither. Below the
threshold it is wrong.

Choices where the kit leaves one:
  * Equal scores go by picture, then by place among its detections.
  * Of objects of equal overlap the first one counts, as in the kit.
  * Recalls of the 2007 rule are compared as whole numbers: 3 of 10 reach 0.3.
  * A class of no object, or difficult ones only, has no average precision, and is left
    out of the mean.

The kit counts pixels from 1 to the last one, and so adds 1 to widths. A box of it
(a, b, c, d) is (a - 1, b - 1, c, d) here, and overlaps are the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from experiments.transitive.detection.annotated import (
    Detections,
    Objects,
    check_detections,
)
from lars_jax.errors import InputError

Rule = Literal["2007", "2010"]


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of each class.

    Attributes:
        per_class: float64 [C], in 0 .. 1; NaN for a class without objects.
        mean: over the classes that have one; NaN where none has.
        objects: int [C], how many there are that are not difficult.
    """

    per_class: np.ndarray
    mean: float
    objects: np.ndarray


def average_precision(
    detections: Sequence[Detections],
    truths: Sequence[Objects],
    *,
    num_classes: int,
    threshold: float = 0.5,
    rule: Rule = "2007",
) -> AveragePrecision:
    """Return the average precision of detections in pictures.

    AP = 1/11 sum over r in {0, 0.1 ... 1} of max over r' >= r of p(r')   (2007)
    AP = integral over r of max over r' >= r of p(r')                     (2010)

    Args:
        detections: of each picture.
        truths: the objects of each picture, in the same order.
        num_classes: C.
        threshold: intersection over union from which on an object is found.
        rule: `2007`, eleven recalls; `2010`, the area, from that year on.

    Raises:
        InputError: another rule, a threshold not in (0, 1], or what `check_detections`
            refuses.

    Reference:
        Everingham et al.: The PASCAL Visual Object Classes (VOC) Challenge, 2010,
        Section 4.2; VOCevaldet.m of the development kits of 2007 and 2012.

    Of two objects one is found, by the second detection:

    >>> boxes = np.array([[0.0, 0, 2, 2], [5, 5, 9, 9]])
    >>> truth = Objects(
    ...     boxes=boxes, classes=np.array([0, 0]), difficult=np.array([False, False])
    ... )
    >>> found = Detections(
    ...     boxes=boxes + [[3.0], [0.0]],
    ...     scores=np.array([0.9, 0.8]),
    ...     classes=np.array([0, 0]),
    ... )
    >>> [
    ...     round(average_precision([found], [truth], num_classes=1, rule=rule).mean, 4)
    ...     for rule in ("2007", "2010")
    ... ]
    [0.2727, 0.25]
    """
    if rule not in get_args(Rule) or not 0 < threshold <= 1:
        raise InputError(
            "average precision is by rule 2007 or 2010 at a threshold above 0 and at "
            f"most 1; got rule {rule} and threshold {threshold}: correct them"
        )
    check_detections(detections, truths, num_classes)
    target, score, found_class = _targets(detections, truths, threshold)
    true_class = _joined([truth.classes for truth in truths], int)
    difficult = _joined([truth.difficult for truth in truths], bool)
    objects = np.bincount(true_class[~difficult], minlength=num_classes)
    per_class = np.full(num_classes, np.nan)
    known = np.flatnonzero(objects)
    for number in known.tolist():
        some = found_class == number
        hits = np.cumsum(_right(target[some], score[some], difficult))
        precision = hits / np.arange(1, len(hits) + 1)
        per_class[number] = _average(hits, precision, objects[number], rule)
    mean = float(per_class[known].mean()) if len(known) else float("nan")
    return AveragePrecision(per_class, mean, objects)


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return intersection over union of boxes, float64 [N, M]; 0 without area.

    Args:
        one: [N, 4].
        other: [M, 4].

    >>> overlaps(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [2, 0, 3, 2]]))
    array([[0.33333333, 0.        ]])
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    one_area, other_area = (
        np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=-1)
        for boxes in (one, other)
    )
    union = one_area[:, None] + other_area[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _targets(
    detections: Sequence[Detections], truths: Sequence[Objects], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of all detections the object that they come to or -1, score and class."""
    targets, start = [], 0
    for found, truth in zip(detections, truths, strict=True):
        target = np.full(len(found.boxes), -1)
        if len(target) and len(truth.boxes):
            near = overlaps(found.boxes, truth.boxes)
            near[found.classes[:, None] != truth.classes[None, :]] = -1.0
            best = near.argmax(axis=1)
            reached = near[np.arange(len(near)), best] >= threshold
            target[reached] = start + best[reached]
        targets.append(target)
        start += len(truth.boxes)
    return (
        _joined(targets, int),
        _joined([found.scores for found in detections], float),
        _joined([found.classes for found in detections], int),
    )


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _right(target: np.ndarray, score: np.ndarray, difficult: np.ndarray) -> np.ndarray:
    """Return by falling score whether detections are right.

    Those that come to a difficult object are left out.
    """
    order = np.argsort(-score, kind="stable")
    target = target[order]
    first = np.zeros(len(target), bool)
    first[np.unique(target, return_index=True)[1]] = True
    # A target of -1 is the last of `difficult`, of which there may be none.
    counts = target < 0 if not len(difficult) else (target < 0) | ~difficult[target]
    return (first & (target >= 0))[counts]


def _average(
    hits: np.ndarray, precision: np.ndarray, objects: int, rule: Rule
) -> float:
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if rule == "2010":
        # Recall rises by one object at each hit, and nowhere else.
        return float(envelope[np.diff(hits, prepend=0) > 0].sum() / objects)
    place = np.searchsorted(10 * hits, np.arange(11) * objects)
    return float(np.append(envelope, 0.0)[place].sum() / 11)
