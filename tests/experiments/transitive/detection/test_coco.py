"""COCO's average precision beside VOC's: equal, within a bound, and where they part."""

import sys

import numpy as np
import pytest

from experiments.transitive.detection.average_precision import average_precision
from experiments.transitive.detection.coco import coco_average_precision
from experiments.transitive.detection.scores import score_detections
from lars_jax.errors import InputError
from tests.experiments.transitive.detection.test_average_precision import (
    FAR,
    NAN,
    detections,
    objects,
    row,
)


def both(found, truth, num_classes=1):
    ours = average_precision(found, truth, num_classes=num_classes, rule="2010")
    coco = coco_average_precision(found, truth, num_classes=num_classes)
    return ours.per_class, coco.per_class50


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (detections(row(2)), 1.0),
        (detections([FAR, *row(2)]), 2 / 3),
        (detections([FAR, FAR]), 0.0),
        (detections([]), 0.0),
    ],
)
def test_both_agree_where_precision_does_not_change_with_recall(found, expected):
    ours, coco = both([found], [objects(row(2))])
    assert ours == pytest.approx([expected], abs=1e-12)
    assert coco == pytest.approx([expected], abs=1e-12)


def test_half_of_the_objects_are_51_of_101_recalls():
    ours, coco = both([detections(row(1))], [objects(row(2))])
    assert ours == [0.5]
    assert coco == pytest.approx([51 / 101])


def apart(seed):
    """Objects that do not touch, and detections of some of them, several of one."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(5):
        boxes, count = np.array(row(6)), rng.integers(1, 12)
        kinds = rng.integers(0, 2, 6)
        some = rng.integers(0, 6, count)
        moved = boxes[some] + rng.integers(-4, 5, (count, 4))
        truths.append(objects(boxes, kinds))
        found.append(detections(moved, rng.permutation(count) / 12, kinds[some]))
    return found, truths


def test_objects_apart_have_101_recalls_within_a_hundredth_of_the_area():
    gaps = []
    for seed in range(40):
        found, truths = apart(seed)
        ours, coco = both(found, truths, num_classes=2)
        gaps.append(np.abs(ours - coco).max())
    assert 1e-4 < max(gaps) <= 0.01


def test_coco_lets_a_second_detection_have_the_free_object_next_to_the_taken_one():
    truth = objects([[0, 0, 10, 10], [0, 1, 10, 11]])
    found = detections([[0, 0, 10, 10], [0, 0.25, 10, 10.25]])
    assert [float(value[0]) for value in both([found], [truth])] == [0.5, 1.0]


def test_difficult_objects_count_neither_for_nor_against():
    truth = objects(row(2), difficult=[True, False])
    found = detections([row(2)[0], row(2)[0], row(2)[1]])
    assert both([found], [truth]) == (pytest.approx([1.0]), pytest.approx([1.0]))


def test_thresholds_and_sizes_are_cocos():
    # Sides 20, 60, 200: one of each size. Overlaps 0.81, 0.64, 0.49.
    truth = objects([[0, 0, 20, 20], [100, 0, 160, 60], [300, 0, 500, 200]])
    found = detections([[0, 0, 18, 18], [100, 0, 148, 48], [300, 0, 440, 140]])
    scores = coco_average_precision([found], [truth], num_classes=1)
    passed = {"small": 0.7, "medium": 0.3, "large": 0.0}
    for name, expected in passed.items():
        assert getattr(scores, name) == pytest.approx(expected), name
    # Two of three are found at 0.5, one at 0.75: 67 and 34 of 101 recalls.
    assert scores.ap50 == pytest.approx(67 / 101)
    assert scores.ap75 == pytest.approx(34 / 101)
    assert scores.ap == pytest.approx((3 * 67 + 4 * 34) / 101 / 10)
    assert scores.per_class == pytest.approx([scores.ap])


def test_what_is_not_there_has_no_number():
    scores = coco_average_precision([detections(row(1))], [objects([])], num_classes=2)
    assert np.isnan([scores.ap, scores.ap50, scores.small, scores.large]).all()
    assert np.isnan(scores.per_class).all()
    assert np.isnan(coco_average_precision([], [], num_classes=1).ap)
    some = coco_average_precision(
        [detections(row(1))], [objects(row(1))], num_classes=2
    )
    np.testing.assert_allclose(some.per_class50, [1.0, NAN])
    assert some.ap50 == pytest.approx(1.0)


def test_nothing_is_printed(capsys):
    coco_average_precision([detections(row(1))], [objects(row(1))], num_classes=1)
    assert capsys.readouterr() == ("", "")


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[transfer\]'") as caught:
        coco_average_precision([], [], num_classes=1)
    assert "\n" not in str(caught.value)


def test_scores_by_its_rule_have_the_mean_over_thresholds():
    truth, found = [objects(row(2), [0, 1])], [detections([row(2)[0]], classes=[0])]
    scores = score_detections(found, truth, ["cat", "dog", "ant"], "coco")
    expected = {"ap50": 0.5, "ap": 0.5, "ap75": 0.5, "ap50/cat": 1.0, "ap50/dog": 0.0}
    assert scores == pytest.approx(expected)
