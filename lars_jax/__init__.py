"""Large-batch training in JAX: LARS and the functional training core around it.

Models live in `lars_jax.models`, data in `lars_jax.data`, drawing in `lars_jax.report`,
commands and run directories in `lars_jax.runs`; none of them is imported until asked
for.
"""

from lars_jax.errors import InputError
from lars_jax.optim import (
    STATIC_ARGUMENTS,
    VARIANTS,
    ScaleByLarsState,
    Variant,
    exclude,
    exclude_vectors,
    group_by_module,
    lamb,
    lars,
    lars_mlperf,
    lars_report,
    layer_norms,
    path_labels,
    path_mask,
    rate_for_batch,
    scale_by_lars,
    warmup_for_batch,
    warmup_polynomial,
)
from lars_jax.train import TrainState

__version__ = "0.1.0"

__all__ = [
    "STATIC_ARGUMENTS",
    "VARIANTS",
    "InputError",
    "ScaleByLarsState",
    "TrainState",
    "Variant",
    "exclude",
    "exclude_vectors",
    "group_by_module",
    "lamb",
    "lars",
    "lars_mlperf",
    "lars_report",
    "layer_norms",
    "path_labels",
    "path_mask",
    "rate_for_batch",
    "scale_by_lars",
    "warmup_for_batch",
    "warmup_polynomial",
]
