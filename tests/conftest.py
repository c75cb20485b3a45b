"""Tests run in a stricter JAX than users do."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests train the same small network, several in processes of their own; what
    # one has compiled the others need not, nor the next run of the tests. JAX names an
    # entry by program, versions and flags.
    _cache = Path(__file__).parents[1] / ".jax_cache"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_cache)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
if "XLA_FLAGS" not in os.environ:
    # Most of a first run is compiling, for loops that run once: a network's weights are
    # drawn in 0.15 s either way, compiled in 1.7 s or in 5.4. Steps compile in half of
    # that again by the older emitters, and in three quarters of it where LLVM is not to
    # optimise; all of it is slower only where a run is long.
    os.environ["XLA_FLAGS"] = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        " --xla_cpu_use_fusion_emitters=false"
    )

import jax
import pytest

# Eight virtual devices: anything sharded is tested on them, everything else uses one.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_legacy_prng_key", "error")


@pytest.fixture
def key() -> jax.Array:
    """Return a fresh random key; no test names a seed that it does not need."""
    return jax.random.key(0)
