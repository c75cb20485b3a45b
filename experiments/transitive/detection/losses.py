"""What a detector learns from: classes and boxes of regions, and of anchors."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from experiments.transitive.detection.anchors import anchors, inside
from experiments.transitive.detection.boxes import clip, decode
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.network import Detector, Params
from experiments.transitive.detection.nms import Kept, top_boxes
from experiments.transitive.detection.sampling import sample_anchors, sample_rois

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def smooth_l1(x: jax.Array, sigma: float = 1.0) -> jax.Array:
    """Return the smooth absolute value.

    (sigma x)^2 / 2 where |x| < 1 / sigma^2, else |x| - 1 / (2 sigma^2)

    Equation 3 of Fast R-CNN; with sigma that of the code of Faster R-CNN.

    Args:
        x: of any shape.
        sigma: 1 / sigma^2 is where the parabola ends.

    Reference:
        Girshick: Fast R-CNN, 2015, https://arxiv.org/abs/1504.08083

    >>> print(smooth_l1(jnp.array([0.5, -3.0])), smooth_l1(jnp.array(0.5), sigma=3.0))
    [0.125 2.5  ] 0.44444445
    """
    bend = 1 / sigma**2
    size = jnp.abs(x)
    return jnp.where(size < bend, 0.5 * jnp.square(sigma * x), size - 0.5 * bend)


def region_loss(
    logits: jax.Array, deltas: jax.Array, labels: jax.Array, targets: jax.Array
) -> Metrics:
    """Return the losses of Fast R-CNN (equation 1), sums over regions per region.

    L = -log p_u + [u >= 1] sum of smooth_l1(t_u - v)

    Args:
        logits: [R, K + 1].
        deltas: [R, K + 1, 4], of each class.
        labels: int32 [R], 0 the background; -1 no region.
        targets: [R, 4], divided by `DEVIATIONS`.

    Returns:
        `class_loss`, `box_loss` and `region_accuracy`, means over the regions there
        are.

    Of two regions the first is certain and its box is off by 3 in one place, the second
    is none:

    >>> found = region_loss(
    ...     jnp.array([[0.0, 50.0], [0.0, 0.0]]), jnp.zeros((2, 2, 4)),
    ...     jnp.array([1, -1]), jnp.array([[3.0, 0, 0, 0], [9, 9, 9, 9]]))
    >>> print(found["class_loss"], found["box_loss"], found["region_accuracy"])
    0.0 2.5 1.0
    """
    there, label = labels >= 0, jnp.maximum(labels, 0)
    count = jnp.maximum(jnp.sum(there.astype(jnp.float32)), 1.0)

    def mean(values: jax.Array, rows: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(rows, values, 0.0)) / count

    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    own = jnp.take_along_axis(deltas, label[:, None, None], axis=1)[:, 0]
    off = jnp.sum(smooth_l1(own - targets), axis=-1)
    right = (jnp.argmax(logits, axis=-1) == label).astype(jnp.float32)
    return {
        "class_loss": mean(entropy, there),
        "box_loss": mean(off, labels > 0),
        "region_accuracy": mean(right, there),
    }


def anchor_loss(
    logits: jax.Array, deltas: jax.Array, labels: jax.Array, targets: jax.Array
) -> Metrics:
    """Return the losses of the proposals (equation 1 of Faster R-CNN).

    Both are divided by the number of anchors that are sampled, as in the paper's code;
    its text divides boxes by positions and weighs them by 10, which is about the same.

    Args:
        logits: [A], that there is an object.
        deltas: [A, 4].
        labels: int32 [A]: 1 an object, 0 none, -1 not looked at.
        targets: [A, 4].

    Reference:
        Ren, He, Girshick, Sun: Faster R-CNN, 2015, https://arxiv.org/abs/1506.01497

    >>> found = anchor_loss(jnp.array([0.0, 9.0]), jnp.zeros((2, 4)),
    ...     jnp.array([0, -1]), jnp.zeros((2, 4)))
    >>> print(found["proposal_loss"].round(4), found["proposal_box_loss"])
    0.6931 0.0
    """
    there = labels >= 0
    count = jnp.maximum(jnp.sum(there.astype(jnp.float32)), 1.0)
    target = (labels > 0).astype(logits.dtype)
    entropy = optax.sigmoid_binary_cross_entropy(logits, target)
    off = jnp.sum(smooth_l1(deltas - targets, sigma=3.0), axis=-1)
    return {
        "proposal_loss": jnp.sum(jnp.where(there, entropy, 0.0)) / count,
        "proposal_box_loss": jnp.sum(jnp.where(labels > 0, off, 0.0)) / count,
    }


def detector_loss(
    detector: Detector, params: Params, batch: Batch, key: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Return the mean loss over the pictures of a batch, and its parts.

    Args:
        detector: its networks.
        params: of `Detector.init`.
        batch: of `pad_batch`.
        key: of samples and dropout.
    """
    config, keys = detector.config, jax.random.split(key, 3)
    features = detector.features(params, batch["image"])
    regions, proposed = batch["regions"], batch["proposed"]
    parts: Metrics = {}
    if config.model.detector == "faster":
        logits, deltas = detector.propose(params, features)
        place = position_anchors(detector, features)
        sample = jax.vmap(partial(_sample_anchors, config, place))
        labels, targets = sample(
            _keys(keys[0], batch), batch["size"], batch["boxes"], batch["usable"]
        )
        parts |= jax.vmap(anchor_loss)(logits, deltas, labels, targets)
        regions, proposed = proposals(
            detector, features, logits, deltas, batch["size"], train=True
        )
    # What is proposed is given, not learned, to what is made of it.
    given = jax.lax.stop_gradient((regions, proposed))
    sample = jax.vmap(partial(_sample_regions, config))
    regions, labels, targets = sample(
        _keys(keys[1], batch),
        *given,
        batch["boxes"],
        batch["classes"],
        batch["usable"],
    )
    logits, deltas = detector.judge(params, features, regions, key=keys[2])
    parts |= jax.vmap(region_loss)(logits, deltas, labels, targets)
    parts = {name: jnp.mean(values) for name, values in parts.items()}
    loss = sum(
        (value for name, value in parts.items() if name.endswith("loss")),
        jnp.float32(0.0),
    )
    return loss, parts


def position_anchors(detector: Detector, features: jax.Array) -> jax.Array:
    """Return the anchors [A, 4] of features [B, h, w, C]."""
    own = detector.config.proposals
    return jnp.asarray(
        anchors(
            *features.shape[1:3],
            stride=detector.stride,
            scales=own.scales,
            ratios=own.ratios,
        )
    )


def proposals(
    detector: Detector,
    features: jax.Array,
    logits: jax.Array,
    deltas: jax.Array,
    sizes: jax.Array,
    *,
    train: bool,
) -> tuple[jax.Array, jax.Array]:
    """Return the regions that anchors' scores and deltas propose.

    Args:
        detector: its configuration says how many.
        features: [B, h, w, C], whose positions the anchors are of.
        logits: [B, A].
        deltas: [B, A, 4].
        sizes: [B, 2], height and width of each picture.
        train: whether as in training, from more and of more.

    Returns:
        Regions [B, P, 4] within the pictures, the best first, and bool [B, P].
    """
    own, counts = detector.config.proposals, detector.config.regions
    place = position_anchors(detector, features)

    def of_one(logits: jax.Array, deltas: jax.Array, size: jax.Array) -> Kept:
        boxes = clip(decode(deltas, place), size[0], size[1])
        sides = boxes[:, 2:] - boxes[:, :2]
        return top_boxes(
            boxes,
            logits,
            jnp.all(sides >= jnp.maximum(own.least_side, 1e-3), axis=1),
            counts.proposals if train else counts.test_proposals,
            own.proposal_overlap,
            pre=own.before if train else max(1, own.before // 2),
        )

    kept = jax.vmap(of_one)(logits, deltas, sizes)
    return kept.boxes, kept.valid


def _keys(key: jax.Array, batch: Batch) -> jax.Array:
    return jax.random.split(key, len(batch["image"]))


def _sample_anchors(
    config: Config,
    place: jax.Array,
    key: jax.Array,
    size: jax.Array,
    boxes: jax.Array,
    usable: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    within = inside(place, size[0], size[1])
    found = sample_anchors(
        key, place, within, boxes, usable, count=config.proposals.anchors
    )
    return found.labels, found.targets


def _sample_regions(
    config: Config,
    key: jax.Array,
    regions: jax.Array,
    proposed: jax.Array,
    boxes: jax.Array,
    classes: jax.Array,
    usable: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    own = config.regions
    found = sample_rois(
        key,
        regions,
        proposed,
        boxes,
        classes + 1,
        usable,
        count=own.regions,
        foreground_share=own.foreground_share,
        foreground=own.foreground,
        background=own.background,
    )
    return found.rois, jnp.where(found.valid, found.labels, -1), found.targets
