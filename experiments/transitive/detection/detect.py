"""What a trained detector finds in a picture."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.transitive.detection.annotated import Detections
from experiments.transitive.detection.boxes import clip, decode
from experiments.transitive.detection.losses import Batch, proposals
from experiments.transitive.detection.network import Detector, Params
from experiments.transitive.detection.nms import keep_by_class
from experiments.transitive.detection.sampling import DEVIATIONS


class Found(NamedTuple):
    """The best detections of each picture, in its order of certainty.

    Attributes:
        boxes: [B, D, 4], pixels of the picture as it was shown.
        scores: [B, D], probabilities; 0 where there is none.
        classes: int32 [B, D], from 0 on, without the background.
    """

    boxes: jax.Array
    scores: jax.Array
    classes: jax.Array


def detect(detector: Detector, params: Params, batch: Batch) -> Found:
    """Return what the detector finds in a batch of pictures.

    Args:
        detector: its networks.
        params: of `Detector.init`.
        batch: of `pad_batch`; its objects are not looked at.
    """
    features = detector.features(params, batch["image"])
    regions, proposed = batch["regions"], batch["proposed"]
    if detector.config.model.detector == "faster":
        logits, deltas = detector.propose(params, features)
        regions, proposed = proposals(
            detector, features, logits, deltas, batch["size"], train=False
        )
    logits, deltas = detector.judge(params, features, regions)
    settings = detector.config.evaluation

    def of_one(
        regions: jax.Array,
        proposed: jax.Array,
        logits: jax.Array,
        deltas: jax.Array,
        size: jax.Array,
    ) -> Found:
        scores = jax.nn.softmax(logits)[:, 1:].T
        moved = deltas[:, 1:] * jnp.array(DEVIATIONS).reshape(1, 1, 4)
        boxes = clip(decode(moved, regions[:, None]), size[0], size[1])
        boxes = jnp.swapaxes(boxes, 0, 1)
        solid = jnp.all(boxes[..., 2:] > boxes[..., :2], axis=-1)
        valid = proposed[None] & solid & (scores >= settings.least_score)
        kept = keep_by_class(boxes, scores, valid, settings.detection_overlap)
        flat = jnp.where(kept, scores, 0.0).ravel()
        count = min(settings.detections, flat.size)
        best, place = jax.lax.top_k(flat, count)
        found = boxes.reshape(-1, 4)[place]
        classes = (place // boxes.shape[1]).astype(jnp.int32)
        return Found(jnp.where(best[:, None] > 0, found, 0.0), best, classes)

    return jax.vmap(of_one)(regions, proposed, logits, deltas, batch["size"])


def unpad(found: Found, scales: list[tuple[float, float]]) -> list[Detections]:
    """Return detections in pixels of each picture itself, without rows that fill up.

    Args:
        found: of `detect`, on the host, of as many pictures at least.
        scales: (down, across) of each, as of `Shown`.
    """
    results = []
    for boxes, scores, classes, (down, across) in zip(*found, scales, strict=False):
        real = scores > 0
        factor = np.array([across, down, across, down])
        results.append(
            Detections(
                boxes=boxes[real] / factor, scores=scores[real], classes=classes[real]
            )
        )
    return results
