"""Tests run in a stricter JAX than users do."""

import os

# Eight virtual devices: anything sharded is tested on them, everything else uses one.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_legacy_prng_key", "error")


@pytest.fixture
def key() -> jax.Array:
    """Return a fresh random key; no test names a seed that it does not need."""
    return jax.random.key(0)
