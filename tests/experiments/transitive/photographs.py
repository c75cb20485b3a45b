"""Photographs of noise, and how patches are cut out of them."""

import numpy as np

from experiments.transitive.config import ContextConfig
from lars_jax.data import ArraySource

SMALL = ContextConfig(
    patch=32,
    gap=16,
    jitter=2,
    least_pixels=90**2,
    most_pixels=120**2,
    context_batch=20,
)


def photographs(count: int = 5, side: int = 100) -> ArraySource:
    numbers = np.random.default_rng(0)
    image = numbers.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ArraySource("noise", ("all",), image, np.zeros(count, np.int32))
