"""LARS as Optax transformations, with schedules, masks and telemetry."""

from lars_jax.optim.batch_rates import rate_for_batch, warmup_for_batch
from lars_jax.optim.lamb import lamb
from lars_jax.optim.lars import lars, lars_mlperf
from lars_jax.optim.layers import (
    PerLayer,
    group_by_module,
    layer_names,
    leaf_names,
    path_name,
)
from lars_jax.optim.masks import (
    BIAS_AND_NORM,
    exclude,
    exclude_vectors,
    path_labels,
    path_mask,
    resolve_mask,
)
from lars_jax.optim.momentum import trace
from lars_jax.optim.scaling import STATIC_ARGUMENTS, ScaleByLarsState, scale_by_lars
from lars_jax.optim.schedules import warmup_polynomial
from lars_jax.optim.telemetry import (
    FIELDS,
    LarsReport,
    lars_report,
    layer_norms,
    record_norms,
)
from lars_jax.optim.variants import VARIANTS, Variant

__all__ = [
    "BIAS_AND_NORM",
    "FIELDS",
    "STATIC_ARGUMENTS",
    "VARIANTS",
    "LarsReport",
    "PerLayer",
    "ScaleByLarsState",
    "Variant",
    "exclude",
    "exclude_vectors",
    "group_by_module",
    "lamb",
    "lars",
    "lars_mlperf",
    "lars_report",
    "layer_names",
    "layer_norms",
    "leaf_names",
    "path_labels",
    "path_mask",
    "path_name",
    "rate_for_batch",
    "record_norms",
    "resolve_mask",
    "scale_by_lars",
    "trace",
    "warmup_for_batch",
    "warmup_polynomial",
]
