"""Tests run in a stricter JAX than users do."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests train the same small network, several in processes of their own; what
    # one has compiled the others need not. It lives as long as the test session.
    _cache = tempfile.mkdtemp(prefix="lars-jax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)

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
