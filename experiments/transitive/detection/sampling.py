"""What Fast R-CNN and the region proposal network train on: random, balanced samples.

The rules are those of py-faster-rcnn's `proposal_target_layer` and
`anchor_target_layer`, whose departures from the papers are kept. Each row draws a
random number of its own, by its index; the rows of lowest numbers are the sample. So
rows that fill up a batch change nothing that is drawn for others.

One departure: an anchor without overlap is never the best of a box. There, a box that
no anchor meets makes all anchors positive that do not meet it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.transitive.detection.boxes import encode, overlaps
from lars_jax.errors import InputError

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
"""What py-faster-rcnn divides the targets of regions by."""


class Regions(NamedTuple):
    """A sample of regions, those of objects first; rows that fill up are zero.

    Attributes:
        rois: float32 [K, 4], pixels.
        labels: int32 [K], class, 0 background.
        targets: float32 [K, 4], as of `encode`, scaled; 0 where the label is 0.
        valid: bool [K].
    """

    rois: jax.Array
    labels: jax.Array
    targets: jax.Array
    valid: jax.Array


class AnchorTargets(NamedTuple):
    """What the region proposal network is trained on.

    Attributes:
        labels: int32 [A], 1 object, 0 background, -1 not in the sample.
        targets: float32 [A, 4], as of `encode`; 0 where the label is not 1.
    """

    labels: jax.Array
    targets: jax.Array


def sample_rois(
    key: jax.Array,
    rois: jax.Array,
    valid: jax.Array,
    boxes: jax.Array,
    classes: jax.Array,
    boxes_valid: jax.Array,
    *,
    count: int = 128,
    foreground_share: float = 0.25,
    foreground: float = 0.5,
    background: tuple[float, float] = (0.1, 0.5),
) -> Regions:
    """Draw regions of an image for Fast R-CNN, of objects and of background.

    Boxes join the proposals. At most `foreground_share` of `count` are drawn from
    those that overlap their closest box enough, without replacement; the rest of
    `count` from the background, and where there are too few, fewer.

    Args:
        key: random key.
        rois: [R, 4], proposals, pixels.
        valid: bool [R].
        boxes: [G, 4], of true objects, pixels.
        classes: int32 [G], from 1 on.
        boxes_valid: bool [G]; others, such as difficult ones, are no target and no
            region.
        count: K.
        foreground_share: at most.
        foreground: least intersection over union of a region of an object.
        background: least one of a background region, and the one that it is below.

    Raises:
        InputError: shapes that do not fit, or a background that reaches into the
            foreground.

    Reference:
        Girshick: Fast R-CNN, 2015, section 2.3, https://arxiv.org/abs/1504.08083

    The box itself, whose class is 7, and a proposal that covers a quarter of it:

    >>> box, some = jnp.array([[0.0, 0.0, 8.0, 8.0]]), jnp.ones(1, bool)
    >>> half = jnp.array([[0.0, 0.0, 4.0, 4.0]])
    >>> from functools import partial
    >>> four = jax.jit(partial(sample_rois, count=4))
    >>> found = four(jax.random.key(0), half, some, box, jnp.array([7]), some)
    >>> print(found.labels, found.valid)
    [7 0 0 0] [ True  True False False]
    """
    _check(rois, valid, boxes, boxes_valid)
    if not classes.shape == boxes_valid.shape or background[1] > foreground:
        raise InputError(
            "each box has a class, and background ends below the foreground; got "
            f"{list(classes.shape)} classes of {boxes.shape[0]} boxes, background "
            f"{background} and foreground {foreground}: correct them"
        )
    rois, boxes = jax.lax.stop_gradient((rois, boxes))
    everything = jnp.concatenate([rois, boxes])
    exists = jnp.concatenate([valid, boxes_valid])
    best, match = _closest(everything, boxes, boxes_valid)
    # Keys apart: the numbers of boxes do not depend on how many proposals there are.
    roi_key, box_key = jax.random.split(key)
    priority = jnp.concatenate(
        [_priorities(roi_key, rois.shape[0]), _priorities(box_key, boxes.shape[0])]
    )
    near = exists & (best >= foreground)
    far = exists & (best >= background[0]) & (best < background[1])
    objects, num_objects = _draw(priority, near, round(foreground_share * count))
    others, num_others = _draw(priority, far, count)
    place = jnp.arange(count, dtype=jnp.int32)
    is_object = place < num_objects
    exists = place < num_objects + num_others
    index = jnp.where(is_object, _at(objects, place), _at(others, place - num_objects))
    chosen = jnp.where(exists[:, None], everything[index], 0.0)
    targets = encode(boxes[match[index]], chosen)
    targets = targets / jnp.asarray(DEVIATIONS, jnp.float32)[None, :]
    labels = jnp.where(is_object, classes[match[index]].astype(jnp.int32), 0)
    targets = jnp.where(is_object[:, None], targets, 0.0)
    return Regions(chosen, labels, targets, exists)


def sample_anchors(
    key: jax.Array,
    anchors: jax.Array,
    inside: jax.Array,
    boxes: jax.Array,
    boxes_valid: jax.Array,
    *,
    count: int = 256,
    foreground_share: float = 0.5,
    foreground: float = 0.7,
    background: float = 0.3,
) -> AnchorTargets:
    """Draw anchors of an image for the region proposal network, with their targets.

    An anchor is of an object if it overlaps its closest box enough, or if none overlaps
    some box more; of background if it overlaps every box too little; else of neither.
    The target is the closest box, in either case. At most `foreground_share` of
    `count` are drawn of objects, without replacement, the rest of background.

    Args:
        key: random key.
        anchors: [A, 4], pixels.
        inside: bool [A], as of `anchors.inside`; others are not used.
        boxes: [G, 4], of true objects, pixels.
        boxes_valid: bool [G]; others, such as difficult ones, are no target.
        count: of the sample, at most.
        foreground_share: at most.
        foreground: least intersection over union that always makes an object.
        background: intersection over union below which it is background.

    Raises:
        InputError: shapes that do not fit.

    Reference:
        Ren, He, Girshick, Sun: Faster R-CNN: Towards Real-Time Object Detection with
        Region Proposal Networks, 2015, section 3.1.2, https://arxiv.org/abs/1506.01497

    The best of a box counts although it overlaps by half; that of 0.4 is neither:

    >>> anchors = jnp.array([[0.0, 0, 4, 8], [0, 0, 8, 3.2], [8, 8, 16, 16]])
    >>> box = jnp.array([[0.0, 0.0, 8.0, 8.0]])
    >>> found = jax.jit(sample_anchors)(
    ...     jax.random.key(0), anchors, jnp.ones(3, bool), box, jnp.ones(1, bool)
    ... )
    >>> print(found.labels, found.targets[0].round(3))
    [ 1 -1  0] [0.5   0.    0.693 0.   ]
    """
    _check(anchors, inside, boxes, boxes_valid)
    anchors, boxes = jax.lax.stop_gradient((anchors, boxes))
    usable = inside[:, None] & boxes_valid[None, :]
    # The maximum is compared with what it is of: both must be the same computation.
    overlap = jax.lax.optimization_barrier(
        jnp.where(usable, overlaps(anchors, boxes), 0.0)
    )
    best, match = jnp.max(overlap, axis=1), jnp.argmax(overlap, axis=1)
    best_of_box = jnp.max(overlap, axis=0, keepdims=True)
    is_best = jnp.any((overlap == best_of_box) & (best_of_box > 0), axis=1)
    near = inside & (is_best | (best >= foreground))
    far = inside & ~near & (best < background)
    priority = _priorities(key, anchors.shape[0])
    objects, num_objects = _draw(priority, near, int(foreground_share * count))
    others, num_others = _draw(priority, far, count)
    num_others = jnp.minimum(num_others, count - num_objects)
    labels = jnp.full(anchors.shape[0], -1, jnp.int32)
    labels = _set(labels, objects, num_objects, 1)
    labels = _set(labels, others, num_others, 0)
    targets = jnp.where(labels[:, None] == 1, encode(boxes[match], anchors), 0.0)
    return AnchorTargets(labels, targets)


def _closest(
    rois: jax.Array, boxes: jax.Array, boxes_valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return each region's greatest overlap with a box, and the first of that."""
    overlap = jnp.where(boxes_valid[None, :], overlaps(rois, boxes), 0.0)
    return jnp.max(overlap, axis=1), jnp.argmax(overlap, axis=1)


def _priorities(key: jax.Array, count: int) -> jax.Array:
    """Return random numbers int32 [count], each a function of its index alone."""
    index = jnp.arange(count, dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
    return (jax.vmap(jax.random.bits)(keys) >> 1).astype(jnp.int32)


def _draw(
    priority: jax.Array, candidates: jax.Array, most: int
) -> tuple[jax.Array, jax.Array]:
    """Return up to `most` candidates in random order, and how many of them are such."""
    number = jnp.minimum(jnp.sum(candidates, dtype=jnp.int32), most)
    size = min(most, priority.shape[0])
    _, index = jax.lax.top_k(jnp.where(candidates, priority, -1), size)
    return index, number


def _at(index: jax.Array, place: jax.Array) -> jax.Array:
    """Return elements of index [N], where there are none of no matter which row."""
    if not index.shape[0]:
        return jnp.zeros_like(place)
    return index[jnp.clip(place, 0, index.shape[0] - 1)]


def _set(labels: jax.Array, index: jax.Array, count: jax.Array, to: int) -> jax.Array:
    """Return labels with those at the first `count` of index set."""
    chosen = jnp.arange(index.shape[0], dtype=jnp.int32) < count
    return labels.at[jnp.where(chosen, index, labels.shape[0])].set(to, mode="drop")


def _check(
    rois: jax.Array | np.ndarray,
    valid: jax.Array,
    boxes: jax.Array,
    boxes_valid: jax.Array,
) -> None:
    fits = rois.shape == (*valid.shape, 4) and boxes.shape == (*boxes_valid.shape, 4)
    if not fits or valid.ndim != 1 or boxes_valid.ndim != 1 or not len(boxes):
        raise InputError(
            "a sample is drawn of regions [R, 4], valid [R], and boxes [G, 4], valid "
            f"[G], G at least 1; got {list(rois.shape)}, {list(valid.shape)}, "
            f"{list(boxes.shape)} and {list(boxes_valid.shape)}: reshape them, or fill "
            "up with a row that is not valid"
        )
