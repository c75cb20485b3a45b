"""Programs that `optimizer.step` times: steps of Optax and PyTorch, and memory.

A program is a function of parameters and gradients that returns a `Run` on memory of
its own.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.common.compiled import compile_afresh
from benchmarks.common.rounds import Run, repeat
from lars_jax import lars

SGD, OURS, OPTAX = "optax.sgd", "lars", "optax.lars"
WITHOUT_TELEMETRY = "lars, no telemetry"
RATE, DECAY = 0.1, 1e-4

Program = Callable[[Any, Any], Run]


def optimizers() -> dict[str, optax.GradientTransformation]:
    """Return the transformations that are timed, by name, SGD first."""
    return {
        SGD: optax.sgd(RATE, momentum=0.9),
        OURS: lars(RATE, DECAY),
        WITHOUT_TELEMETRY: lars(RATE, DECAY, telemetry=False),
        "lars, variant optax": lars(RATE, DECAY, variant="optax"),
        OPTAX: optax.lars(RATE, DECAY),
        "optax.lamb": optax.lamb(RATE, weight_decay=DECAY),
    }


def compiled_step(
    tx: optax.GradientTransformation, shapes: Any, times: int, inside: int = 1
) -> tuple[Program, dict[str, Any]]:
    """Return a donated step on parameters of given shapes, and what its making cost.

    Args:
        tx: what makes the step.
        shapes: of the parameters.
        times: how often it is compiled.
        inside: steps of one call. A run then has a multiple of so many.
    """
    buffers = jax.eval_shape(tx.init, shapes)
    compiled, facts = compile_afresh(
        repeated(tx, inside), (shapes, buffers, shapes), donate=(0, 1), times=times
    )

    def program(params: Any, gradients: Any) -> Run:
        params = jax.tree.map(jnp.copy, params)
        run = repeat(lambda own: compiled(*own, gradients), (params, tx.init(params)))
        return lambda steps: run(-(-steps // inside))

    leaves = jax.tree.leaves(buffers)
    return program, facts | {
        "state_buffers": len(leaves),
        "state_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
    }


def repeated(tx: optax.GradientTransformation, inside: int) -> Callable[..., Any]:
    """Return `(params, state, gradients) -> (params, state)` of several steps.

    >>> sgd = optax.sgd(0.5)
    >>> print(repeated(sgd, 3)(jnp.ones(2), sgd.init(jnp.ones(2)), jnp.ones(2))[0])
    [-0.5 -0.5]
    """

    def once(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    def several(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        def body(_: Any, own: tuple[Any, Any]) -> tuple[Any, Any]:
            # What does not change would be taken out of the loop: the gradients' norms.
            return once(*jax.lax.optimization_barrier((*own, gradients)))

        return jax.lax.fori_loop(0, inside, body, (params, state))

    return once if inside == 1 else several


def stream(megabytes: int, function: Callable[[jax.Array], Any]) -> Program:
    """Return a compiled pass over an array, whose memory its first result takes."""
    shape = jax.ShapeDtypeStruct((megabytes * 2**20 // 4,), jnp.float32)
    compiled, _ = compile_afresh(
        lambda x: jax.tree.leaves(function(x)), (shape,), donate=(0,), times=1
    )

    def program(params: Any, gradients: Any) -> Run:
        del params, gradients
        ones = jnp.ones(shape.shape, shape.dtype)
        return repeat(lambda found: compiled(found[0]), [ones])

    return program


def torch_programs() -> tuple[str | None, dict[str, Program]]:
    """Return torch's version and its optimizers; none where it cannot be imported."""
    try:
        from benchmarks.optimizer import torch_optimizers
    except (ImportError, OSError) as error:
        print(f"torch cannot be imported ({error}): timing JAX alone")
        return None, {}
    return torch_optimizers.version(), torch_optimizers.programs(RATE, DECAY)


def drawn(shapes: Any, scale: float) -> Any:
    """Return normally distributed arrays of given shapes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            np.float32(scale) * rng.standard_normal(leaf.shape, dtype=np.float32)
        ),
        shapes,
    )
