"""Layer norms and trust ratios, read out of the state of any optimizer.

`scale_by_lars` leaves them in its own state. An optimizer without layer-wise ratios
gets the same telemetry by putting `record_norms` first in its chain.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

FIELDS = ("weight_norm", "gradient_norm", "trust_ratio")
"""What is known of a layer, in the order of the last axis of `layer_norms`."""


class RecordNormsState(NamedTuple):
    """The norms of the last update; `trust_ratio` is one, for nothing is adapted."""

    weight_norm: Any
    gradient_norm: Any
    trust_ratio: Any


def leaf_norm(x: jax.Array) -> jax.Array:
    """Return the Euclidean norm of an array, in float32 or wider.

    ||x|| = sqrt(sum(|x|^2)), the squares summed in at least float32.

    >>> import jax.numpy as jnp
    >>> float(leaf_norm(jnp.array([3.0, 4.0], jnp.bfloat16)))
    5.0
    """
    magnitude = jnp.abs(x.astype(at_least_float32(x.dtype)))
    return jnp.sqrt(jnp.sum(jnp.square(magnitude)))


def at_least_float32(dtype: Any) -> np.dtype:
    """Return float32, or the dtype itself where that is wider.

    NumPy's promotion, because JAX refuses to promote bfloat16 in its strict mode.

    >>> at_least_float32("bfloat16")
    dtype('float32')
    """
    return np.promote_types(jnp.dtype(dtype), np.float32)


def record_norms() -> optax.GradientTransformation:
    """Pass gradients through unchanged and keep ||w|| and ||g|| of every leaf.

    >>> import jax.numpy as jnp
    >>> w, g = jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])
    >>> tx = record_norms()
    >>> _, state = tx.update(g, tx.init(w), w)
    >>> print(float(state.weight_norm), float(state.gradient_norm))
    5.0 2.0
    """

    def norms(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf_norm(leaf).astype(jnp.float32), tree)

    def init(params: Any) -> RecordNormsState:
        zeros = jax.tree.map(lambda _: jnp.zeros((), jnp.float32), params)
        ones = jax.tree.map(lambda _: jnp.ones((), jnp.float32), params)
        return RecordNormsState(zeros, zeros, ones)

    def update(
        updates: Any, state: optax.OptState, params: Any | None = None
    ) -> tuple[Any, RecordNormsState]:
        del state
        if params is None:
            raise ValueError(
                "record_norms needs the parameters to measure them; got params=None: "
                "call tx.update(gradients, state, params)"
            )
        ones = jax.tree.map(lambda _: jnp.ones((), jnp.float32), params)
        return updates, RecordNormsState(norms(params), norms(updates), ones)

    return optax.GradientTransformation(init, update)


def layer_norms(opt_state: Any) -> jax.Array | None:
    """Return the last ||w||, ||g|| and trust ratio of every leaf as one array.

    One array means one transfer to the host, however many layers there are; the rows
    are in the order of `leaf_names(params)`.

    Args:
        opt_state: state of a chain that has `scale_by_lars` or `record_norms` in it.

    Returns:
        float32 [L, 3], columns as in `FIELDS`, or None where the state has no norms.

    >>> import jax.numpy as jnp
    >>> from lars_jax.optim import lars
    >>> w, g = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}
    >>> tx = lars(1.0)
    >>> print(layer_norms(tx.update(g, tx.init(w), w)[1]))
    [[5.    1.    0.005]]
    """
    # Looked up in the first state that has all three, so that a chain may hold several.
    found = _find(opt_state)
    if found is None:
        return None
    columns = [jnp.stack(jax.tree.leaves(getattr(found, name))) for name in FIELDS]
    return jnp.stack(columns, axis=-1)


def _find(state: Any) -> Any | None:
    if all(hasattr(state, name) for name in FIELDS):
        return state
    if isinstance(state, dict):
        state = tuple(state.values())
    if isinstance(state, tuple | list):
        return next((hit for part in state if (hit := _find(part)) is not None), None)
    return None
