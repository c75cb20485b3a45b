"""What Table 2 of the paper may be of: AlexNet-BN, AlexNet, and departures."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.models import Network, from_linen
from lars_jax.models.alexnet import BATCH_NORM_EPSILON, AlexNet

SCALE = 0.42
"""The one number by which gradients of AlexNet-BN's kernels come near the paper's."""


class Conv5Scaled(AlexNet):
    """AlexNet whose linear layers see `SCALE` times what conv5 hands on."""

    def _after(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        x = super()._after(name, x, train)
        return SCALE * x if name == "conv5" else x


class Conv5Averaged(AlexNet):
    """AlexNet that takes averages in place of maxima after conv5."""

    def _after(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        if name != "conv5":
            return super()._after(name, x, train)
        x = self._norm_and_relu(name, x, train)
        return nn.pool(x, 0.0, jax.lax.add, (3, 3), (2, 2), "VALID") / 9.0


class ReluFirst(AlexNet):
    """AlexNet-BN whose normalisation follows ReLU."""

    def _norm_and_relu(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        return self._batch_norm(name)(nn.relu(x), train=train)


class StatisticsFixed(AlexNet):
    """AlexNet-BN through whose statistics, of the whole call, no gradient passes."""

    def _norm_and_relu(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        fixed = jax.lax.stop_gradient(x)
        mean, variance = (
            of(fixed, axis=(0, 1, 2), keepdims=True) for of in (jnp.mean, jnp.var)
        )
        return nn.relu((x - mean) * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON))


NETWORKS: dict[str, Callable[..., AlexNet]] = {
    "AlexNet-BN": partial(AlexNet, norm="batch"),
    "AlexNet-BN, no dropout": partial(AlexNet, norm="batch", dropout=0.0),
    "AlexNet": partial(AlexNet, norm="lrn"),
}
"""What the table may be of."""

DEPARTURES: dict[str, Callable[..., AlexNet]] = {
    "conv5 scaled": partial(Conv5Scaled, norm="batch"),
    "conv5 averaged": partial(Conv5Averaged, norm="batch"),
    "ReLU first": partial(ReluFirst, norm="batch"),
    "statistics fixed": partial(StatisticsFixed, norm="batch"),
}
"""AlexNet-BN with one departure each."""


def network(name: str, classes: int, span: int, **changes: Any) -> Network:
    """Return a network of the table.

    Args:
        name: one of `NETWORKS` or `DEPARTURES`.
        classes: number of logits.
        span: ghost batch size.
        changes: further attributes of the module.

    >>> images = jax.ShapeDtypeStruct((2, 227, 227, 3), jnp.float32)
    >>> both = [network(name, 1000, 2) for name in ("AlexNet-BN", "conv5 averaged")]
    >>> shapes = [jax.eval_shape(one.init, jax.random.key(0), images) for one in both]
    >>> shapes[0] == shapes[1]
    True
    """
    module = (NETWORKS | DEPARTURES)[name](
        classes, dtype=jnp.float32, bn_span=span, axis_name=None, **changes
    )
    return from_linen(module)
