"""A network that compiles at once, and what a run has left, as tests compare it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.lars.experiment import LARS
from experiments.lars.trainer import Trainer
from lars_jax.models import BatchNorm, Network, from_linen
from lars_jax.models.layers import Conv, Dense, Dropout
from lars_jax.runs.restore import restore


class Tiny(nn.Module):
    """All that the mesh could change: batch normalisation and dropout."""

    classes: int
    span: int | None
    axis_name: str | None
    dtype: Any
    wide_gradients: bool

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool, examples: Any = None) -> Any:
        own = {"dtype": self.dtype, "wide_gradients": self.wide_gradients}
        x = Conv(4, 3, padding=1, bias_init=None, name="conv1", **own)(images)
        norm = BatchNorm(self.span, self.axis_name, dtype=self.dtype, name="conv1_bn")
        x = norm(x, train=train)
        # No kink that a rounding error could push an activation over.
        x = nn.tanh(x).reshape(len(x), -1)
        x = Dropout(0.2)(x, examples, train=train)
        return Dense(self.classes, name="fc", **own)(x).astype(jnp.float32)


def tiny(name: str, classes: int, **options: Any) -> Network:
    """Return a tiny network in the place of the one of that name."""
    fields = ("bn_span", "axis_name", "dtype", "wide_gradients")
    return from_linen(Tiny(classes, *(options[field] for field in fields)))


def train(config: Any) -> tuple[Trainer, Any, list[float]]:
    """Return a trainer, the state that its run ends with, and every loss."""
    trainer, losses = Trainer.create(config), []
    state, _ = trainer.fit(
        trainer.init(),
        on_metrics=lambda step, row: losses.append(float(row["loss"])),
    )
    return trainer, jax.device_get(state), losses


def error(found: Any, expected: Any) -> float:
    """Return the largest difference of a leaf, relative to its largest entry."""

    def of(a: Any, b: Any) -> float:
        return np.abs(a - b).max() / (np.abs(b).max() + 1e-3)

    return max(jax.tree.leaves(jax.tree.map(of, found, expected)))


def saved_state(directory) -> Any:
    """Return the state of the last checkpoint."""
    return jax.device_get(restore(LARS, directory).state)
