"""Average precision against pencil, and against the kit's loops written out."""

import numpy as np
import pytest

from experiments.transitive.detection.annotated import Detections, Objects
from experiments.transitive.detection.average_precision import (
    average_precision,
    overlaps,
)
from lars_jax.errors import InputError

NAN = float("nan")
FAR = [50, 50, 60, 60]
"""A box away from all others."""


def objects(boxes, classes=None, difficult=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    if classes is None:
        classes = [0] * len(boxes)
    if difficult is None:
        difficult = [False] * len(boxes)
    return Objects(
        boxes=boxes,
        classes=np.asarray(classes, np.int32),
        difficult=np.asarray(difficult, bool),
    )


def detections(boxes, scores=None, classes=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    if scores is None:
        scores = np.linspace(0.9, 0.1, len(boxes))
    if classes is None:
        classes = [0] * len(boxes)
    return Detections(
        boxes=boxes,
        scores=np.asarray(scores, np.float64),
        classes=np.asarray(classes, np.int32),
    )


def row(count):
    """Boxes of ten pixels that do not touch."""
    return [[20 * k, 0, 20 * k + 10, 10] for k in range(count)]


def both(found, truth, **more):
    return tuple(
        average_precision(found, truth, num_classes=1, rule=rule, **more).mean
        for rule in ("2007", "2010")
    )


def test_one_that_is_right_has_precision_1():
    assert both([detections(row(1))], [objects(row(1))]) == (1.0, 1.0)


def test_one_that_is_wrong_ahead_halves_precision():
    found = detections([FAR, *row(1)])
    assert both([found], [objects(row(1))]) == (0.5, 0.5)


def test_one_that_is_wrong_behind_costs_nothing():
    found = detections([*row(1), FAR])
    assert both([found], [objects(row(1))]) == (1.0, 1.0)


def test_a_duplicate_is_wrong():
    # Right, wrong, right of two objects: precision 1 up to recall 1/2, then 2/3.
    found = detections([row(2)[0], row(2)[0], row(2)[1]])
    expected = ((6 * 1 + 5 * 2 / 3) / 11, (1 + 2 / 3) / 2)
    assert both([found], [objects(row(2))]) == pytest.approx(expected)


def test_a_second_detection_does_not_go_to_the_free_object_next_to_the_taken_one():
    # Both detections overlap the first object most; the second object stays unfound.
    truth = objects([[0, 0, 10, 10], [0, 1, 10, 11]])
    found = detections([[0, 0, 10, 10], [0, 0.25, 10, 10.25]])
    assert both([found], [truth])[1] == 0.5


def test_difficult_objects_count_neither_for_nor_against():
    truth = objects(row(2), difficult=[True, False])
    # However often the difficult one is found, ahead of the other.
    found = detections([row(2)[0], row(2)[0], row(2)[1]])
    result = average_precision([found], [truth], num_classes=1)
    assert result.mean == 1.0
    assert result.objects.tolist() == [1]
    assert both([detections([])], [truth]) == (0.0, 0.0)


def test_a_class_without_objects_is_left_out_of_the_mean():
    truth = [objects(row(3), [0, 2, 3], [False, False, True])]
    found = [detections([row(1)[0], FAR], classes=[0, 1])]
    result = average_precision(found, truth, num_classes=4)
    np.testing.assert_array_equal(result.per_class, [1.0, NAN, 0.0, NAN])
    assert result.mean == 0.5
    assert result.objects.tolist() == [1, 0, 1, 0]


def test_without_objects_anywhere_there_is_no_mean():
    result = average_precision([detections([FAR])], [objects([])], num_classes=2)
    assert np.isnan(result.mean)
    assert np.isnan(average_precision([], [], num_classes=1).mean)


def test_without_detections_precision_is_0():
    assert both([detections([])] * 2, [objects(row(2)), objects([])]) == (0.0, 0.0)


def test_equal_scores_go_by_picture_then_by_place():
    truth = [objects(row(1)), objects([])]
    wrong, right = [FAR], row(1)
    within = [detections([*wrong, *right], [0.5, 0.5]), detections([])]
    assert both(within, truth)[1] == 0.5
    within = [detections([*right, *wrong], [0.5, 0.5]), detections([])]
    assert both(within, truth)[1] == 1.0
    across = [detections(right, [0.5]), detections(wrong, [0.5])]
    assert both(across, truth)[1] == 1.0
    assert both(across[::-1], truth[::-1])[1] == 0.5


def test_other_classes_and_other_pictures_find_nothing():
    truth = [objects(row(1), [0]), objects([])]
    elsewhere = [detections([]), detections(row(1))]
    assert both(elsewhere, truth) == (0.0, 0.0)
    other = [detections(row(1), classes=[1]), detections([])]
    result = average_precision(other, truth, num_classes=2)
    np.testing.assert_array_equal(result.per_class, [0.0, NAN])


def test_the_threshold_itself_is_enough():
    truth, found = [objects([[0, 0, 4, 4]])], [detections([[0, 0, 4, 2]])]
    assert both(found, truth) == (1.0, 1.0)
    assert both(found, truth, threshold=0.501) == (0.0, 0.0)


def test_recall_of_three_in_ten_reaches_0_3():
    # As floats, 3 * 0.1 is above 3 / 10.
    found = [detections(row(3))]
    expected = (4 / 11, 0.3)
    assert both(found, [objects(row(10))]) == pytest.approx(expected, abs=1e-12)


def kit_overlap(one, other):
    """VOCevaldet.m, of boxes that count pixels from 1 to the last one."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (one, other)]
    return width * height / (sum(areas) - width * height)


def test_overlaps_are_those_of_the_kit():
    rng = np.random.default_rng(0)
    low = rng.integers(1, 30, (60, 2))
    inclusive = np.concatenate([low, low + rng.integers(0, 20, (60, 2))], axis=1)
    ours = (inclusive - [1, 1, 0, 0]).astype(np.float32)
    expected = [[kit_overlap(a, b) for b in inclusive] for a in inclusive.tolist()]
    np.testing.assert_array_equal(overlaps(ours, ours), expected)


def test_boxes_without_area_overlap_nothing():
    point, turned = [[3, 3, 3, 3]], [[9, 9, 1, 1]]
    whole = [[0, 0, 10, 10]]
    for boxes in (point, turned):
        assert overlaps(np.array(boxes), np.array(whole)) == 0.0
        assert overlaps(np.array(boxes), np.array(boxes)) == 0.0


def kit_precision(found, truths, wanted, threshold, rule):
    """The kit's loops over detections, and the mean over explicit recalls."""
    rows = [
        (-score, number, k)
        for number, picture in enumerate(found)
        for k, score in enumerate(picture.scores)
        if picture.classes[k] == wanted
    ]
    objects_of = [
        [k for k in range(len(truth.boxes)) if truth.classes[k] == wanted]
        for truth in truths
    ]
    total = sum(
        not truths[n].difficult[k] for n, some in enumerate(objects_of) for k in some
    )
    if not total:
        return NAN
    points, taken, right, wrong = [], set(), 0, 0
    for _, number, k in sorted(rows):
        best, at = -np.inf, None
        for other in objects_of[number]:
            one = found[number].boxes[k].astype(float) + [1, 1, 0, 0]
            truth = truths[number].boxes[other].astype(float) + [1, 1, 0, 0]
            overlap = kit_overlap(one, truth)
            if overlap > best:
                best, at = overlap, other
        if at is not None and best >= threshold:
            if truths[number].difficult[at]:
                continue
            right, wrong = (
                (right, wrong + 1) if (number, at) in taken else (right + 1, wrong)
            )
            taken.add((number, at))
        else:
            wrong += 1
        points.append((right, right / (right + wrong)))
    if rule == "2007":
        recalls, parts = range(11), 10
    else:
        recalls, parts = range(1, total + 1), total
    tops = [
        max((p for hits, p in points if hits * parts >= k * total), default=0.0)
        for k in recalls
    ]
    return sum(tops) / len(tops)


def random_case(seed, pictures=4, classes=3):
    """Objects, and detections that are near them, or not, with scores that repeat."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(pictures):
        count = rng.integers(0, 6)
        low = rng.integers(0, 20, (count, 2))
        boxes = np.concatenate([low, low + rng.integers(4, 14, (count, 2))], axis=1)
        kinds = rng.integers(0, classes, count)
        truths.append(objects(boxes, kinds, rng.random(count) < 0.2))
        some = np.repeat(np.arange(count), rng.integers(0, 4, count))
        near = boxes[some] + rng.integers(-2, 3, (len(some), 4))
        shown = np.where(
            rng.random(len(some)) < 0.9, kinds[some], rng.integers(0, classes)
        )
        found.append(detections(near, rng.integers(0, 6, len(some)) / 5, shown))
    return found, truths


@pytest.mark.parametrize("rule", ["2007", "2010"])
def test_random_pictures_have_the_precision_of_the_kit(rule):
    for seed in range(150):
        found, truths = random_case(seed)
        threshold = (0.3, 0.5, 0.7)[seed % 3]
        result = average_precision(
            found, truths, num_classes=3, rule=rule, threshold=threshold
        )
        expected = [kit_precision(found, truths, k, threshold, rule) for k in range(3)]
        np.testing.assert_allclose(result.per_class, expected, atol=1e-12)


def test_precision_depends_on_the_order_of_scores_alone():
    for seed in range(20):
        found, truths = random_case(seed)
        other = [
            detections(d.boxes, np.exp(3 * d.scores) - 7, d.classes) for d in found
        ]
        one, two = (
            average_precision(d, truths, num_classes=3).per_class
            for d in (found, other)
        )
        np.testing.assert_array_equal(one, two)


def test_precision_is_the_same_at_any_scale_and_place():
    for seed in range(20):
        found, truths = random_case(seed)
        moved = [detections(4 * d.boxes + 16, d.scores, d.classes) for d in found]
        there = [objects(4 * t.boxes + 16, t.classes, t.difficult) for t in truths]
        np.testing.assert_array_equal(
            average_precision(found, truths, num_classes=3).per_class,
            average_precision(moved, there, num_classes=3).per_class,
        )


ONE = [detections(row(1))]


@pytest.mark.parametrize(
    ("found", "truth", "more", "told"),
    [
        (ONE, [objects(row(1))], {"rule": "2012"}, "got rule 2012"),
        (ONE, [objects(row(1))], {"threshold": 0.0}, "threshold 0.0"),
        (ONE, [], {}, "of 1 pictures and objects of 0"),
        ([detections(row(1), [NAN])], [objects([])], {}, "finite; got others"),
        ([detections(row(1), [0.5, 0.4])], [objects([])], {}, r"got \[1, 4\].*\[2\]"),
        ([detections(row(1), classes=[1])], [objects([])], {}, "0 to 0; got 1 to 1"),
        (ONE, [objects(row(1), [-1])], {}, "got -1 to -1 for picture 0"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(found, truth, more, told):
    with pytest.raises(InputError, match=told) as caught:
        average_precision(found, truth, num_classes=1, **more)
    assert "\n" not in str(caught.value)
