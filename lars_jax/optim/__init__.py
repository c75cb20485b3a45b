"""LARS as Optax transformations, with schedules, masks and telemetry."""

from lars_jax.optim.lars import ScaleByLarsState, lars, scale_by_lars
from lars_jax.optim.masks import (
    BIAS_AND_NORM,
    exclude,
    leaf_names,
    path_labels,
    path_mask,
    path_name,
    resolve_mask,
)
from lars_jax.optim.schedules import scale_linearly, warmup_polynomial
from lars_jax.optim.telemetry import FIELDS, layer_norms, record_norms

__all__ = [
    "BIAS_AND_NORM",
    "FIELDS",
    "ScaleByLarsState",
    "exclude",
    "lars",
    "layer_norms",
    "leaf_names",
    "path_labels",
    "path_mask",
    "path_name",
    "record_norms",
    "resolve_mask",
    "scale_by_lars",
    "scale_linearly",
    "warmup_polynomial",
]
