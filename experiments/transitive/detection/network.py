"""The network of a detector: convolutions, a head for each region, and proposals.

    features = trunk(image)                 to the last convolution, a 16th of the sides
    hidden   = fc7(fc6(pooled region))      4096 units each, with dropout
    scores   = class @ hidden               K + 1, the first of the background
    deltas   = box @ hidden                 4 (K + 1), a box for each class

Faster R-CNN has beside it, on the features, a convolution of 3 x 3 and for each anchor
of each position a score and four deltas. The paper draws fc6 and fc7 from a Gaussian of
deviation 0.001 (section 5.2); here they are drawn by the rule of He et al., as features
of another scale than Caffe's would vanish.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.transitive.detection.config import Config
from experiments.transitive.detection.roi import align_batch, pool_batch
from experiments.transitive.networks import BLOCKS, linear
from lars_jax.data import known_statistics, normalize
from lars_jax.errors import InputError
from lars_jax.models import Network, vgg16, vgg_head, vgg_layers

STRIDE = {"vgg16": 16, "small": 8}
"""Pixels between positions of the features, which no pool follows."""

DEVIATIONS = {"class": 0.01, "box": 0.001, "anchor_class": 0.01, "anchor_box": 0.01}
"""Of the Gaussians that the last layers are drawn from, as in the paper's code."""

Params = Any


@dataclass(frozen=True)
class Detector:
    """A detector's parts.

    Attributes:
        config: of the detector.
        classes: number K of classes, without the background.
    """

    config: Config
    classes: int

    @property
    def trunk(self) -> Network:
        """From images [B, H, W, 3] to features [B, H / s, W / s, C]."""
        model = self.config.model
        last = convolutions(model.network)[-1]
        return vgg16(
            last,
            blocks=BLOCKS[model.network],
            width=model.width,
            dtype=jnp.dtype(model.dtype),
        )

    @property
    def head(self) -> Network:
        """From pooled regions [R, cells, cells, C] to [R, units]."""
        model = self.config.model
        units = max(1, round(model.units * model.width))
        return vgg_head(
            (units, units), dropout=model.dropout, dtype=jnp.dtype(model.dtype)
        )

    @property
    def proposing(self) -> Network:
        """From features to what each position's anchors are judged by."""
        model = self.config.model
        hidden = max(1, round(self.config.proposals.hidden * model.width))
        # A convolution of 3 x 3 with its ReLU, as a network of one layer.
        return vgg16("conv1_1", blocks=((hidden, 1),), dtype=jnp.dtype(model.dtype))

    @property
    def anchors(self) -> int:
        """Anchors of a position."""
        own = self.config.proposals
        return len(own.scales) * len(own.ratios)

    @property
    def stride(self) -> int:
        """Pixels between positions of the features."""
        return STRIDE[self.config.model.network]

    def init(self, key: jax.Array) -> Params:
        """Return parameters drawn by a key, by the names of the parts."""
        keys = iter(jax.random.split(key, 7))
        shape = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        params: dict[str, Any] = {"trunk": self.trunk.init(next(keys), shape)[0]}
        apply = partial(self.trunk.apply, params["trunk"], {})
        channels = jax.eval_shape(apply, shape)[0].shape[-1]
        cells = self.config.model.cells
        pooled = jax.ShapeDtypeStruct((1, cells, cells, channels), jnp.float32)
        params["head"] = self.head.init(next(keys), pooled)[0]
        units = params["head"]["fc7"]["bias"].size
        sizes = {"class": self.classes + 1, "box": 4 * (self.classes + 1)}
        for name, count in sizes.items():
            params[name] = _linear(next(keys), name, units, count)
        if self.config.model.detector == "faster":
            features = jax.ShapeDtypeStruct((1, 4, 4, channels), jnp.float32)
            params["anchor"] = self.proposing.init(next(keys), features)[0]
            hidden = params["anchor"]["conv1_1"]["bias"].size
            sizes = {"anchor_class": self.anchors, "anchor_box": 4 * self.anchors}
            for name, count in sizes.items():
                params[name] = _linear(next(keys), name, hidden, count)
        return params

    def features(self, params: Params, images: jax.Array) -> jax.Array:
        """Return features float32 [B, h, w, C] of bytes [B, H, W, 3]."""
        statistics = known_statistics("imagenet2012")
        assert statistics is not None, "they are known"
        weights = frozen(params["trunk"], self.config)
        return self.trunk.apply(weights, {}, normalize(images, *statistics))[0]

    def judge(
        self,
        params: Params,
        features: jax.Array,
        regions: jax.Array,
        *,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Return what the head makes of regions.

        Args:
            params: of `init`.
            features: [B, h, w, C].
            regions: [B, R, 4], pixels of the image.
            key: of dropout, in training; None: nothing is dropped.

        Returns:
            Logits [B, R, K + 1], the background first, and deltas [B, R, K + 1, 4].
        """
        batch, count = regions.shape[:2]
        model = self.config.model
        pool = pool_batch if model.pooling == "pool" else align_batch
        pooled = pool(features, regions, 1 / self.stride, model.cells)
        flat = pooled.reshape(batch * count, *pooled.shape[2:])
        hidden, _ = self.head.apply(
            params["head"], {}, flat, train=key is not None, key=key
        )
        logits = linear(params["class"], hidden).reshape(batch, count, -1)
        deltas = linear(params["box"], hidden).reshape(batch, count, -1, 4)
        return logits, deltas

    def propose(
        self, params: Params, features: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return a logit [B, A] and deltas [B, A, 4] of each anchor."""
        hidden, _ = self.proposing.apply(params["anchor"], {}, features)
        batch = len(features)
        logits = linear(params["anchor_class"], hidden).reshape(batch, -1)
        return logits, linear(params["anchor_box"], hidden).reshape(batch, -1, 4)


def convolutions(network: str) -> tuple[str, ...]:
    """Return the convolutions of a network in their order.

    >>> convolutions("small")
    ('conv1_1', 'conv2_1', 'conv3_1', 'conv4_1')
    """
    layers = vgg_layers(BLOCKS[network])
    return tuple(layer for layer in layers if layer.startswith("conv"))


def frozen_layers(config: Config) -> tuple[str, ...]:
    """Return the convolutions that are not trained.

    Raises:
        InputError: the last of them is none of the network's.

    >>> from lars_jax.train.config import replace_fields
    >>> frozen_layers(replace_fields(Config(), frozen="conv2_1"))
    ('conv1_1', 'conv1_2', 'conv2_1')
    """
    model = config.model
    names = convolutions(model.network)
    if model.frozen is None:
        return ()
    if model.frozen not in names:
        raise InputError(
            f"frozen must be one of {', '.join(names)}; got {model.frozen}: choose the "
            "last layer that stays, or leave it out"
        )
    return names[: names.index(model.frozen) + 1]


def frozen(params: Params, config: Config) -> Params:
    """Return the convolutions with no gradient to those that are not trained."""
    stay = frozen_layers(config)
    return {
        name: jax.lax.stop_gradient(layer) if name in stay else layer
        for name, layer in params.items()
    }


def _linear(key: jax.Array, name: str, fan_in: int, units: int) -> Params:
    kernel = DEVIATIONS[name] * jax.random.normal(key, (fan_in, units))
    return {"kernel": kernel, "bias": jnp.zeros(units)}
