"""Programs that `optimizer_step` times: steps of Optax and PyTorch, and memory."""

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.common.compiled import compile_afresh
from benchmarks.common.rounds import Run
from lars_jax import lars

SGD, OURS, OPTAX = "optax.sgd", "lars", "optax.lars"
WITHOUT_TELEMETRY = "lars, no telemetry"
RATE, DECAY = 0.1, 1e-4


class Program(Protocol):
    """Something that is timed."""

    def start(self, params: Any, gradients: Any) -> Run:
        """Return a function that does steps, on memory of its own."""
        ...


@dataclass(frozen=True)
class Step:
    """A compiled step of an Optax transformation."""

    tx: optax.GradientTransformation
    compiled: Any = field(repr=False)

    def start(self, params: Any, gradients: Any) -> Run:
        """Return a function that steps a copy of the parameters on."""
        params = jax.tree.map(jnp.copy, params)
        state = self.tx.init(params)

        def run(steps: int) -> None:
            nonlocal params, state
            for _ in range(steps):
                params, state = self.compiled(params, state, gradients)
            jax.block_until_ready((params, state))

        return run


@dataclass(frozen=True)
class Stream:
    """A compiled pass over a large array, whose time is that of its memory."""

    size: int
    moved_bytes: int
    compiled: Any = field(repr=False)

    @classmethod
    def copy(cls, megabytes: int) -> "Stream":
        """Return the copy of a float32 array of that many MiB onto itself."""
        return cls._of(megabytes, 2, lambda x: x * 2)

    @classmethod
    def read(cls, megabytes: int) -> "Stream":
        """Return the sum of squares of a float32 array of that many MiB."""
        return cls._of(megabytes, 1, lambda x: (x, jnp.sum(jnp.square(x))))

    @classmethod
    def _of(cls, megabytes: int, passes: int, function: Any) -> "Stream":
        size = megabytes * 2**20 // 4
        shape = jax.ShapeDtypeStruct((size,), jnp.float32)
        compiled, _ = compile_afresh(function, (shape,), donate=(0,), times=1)
        return cls(size, passes * 4 * size, compiled)

    def start(self, params: Any, gradients: Any) -> Run:
        """Return a function that passes over an array of its own."""
        del params, gradients
        found: Any = jnp.ones(self.size, jnp.float32)

        def run(steps: int) -> None:
            nonlocal found
            for _ in range(steps):
                values = found[0] if isinstance(found, tuple | list) else found
                found = self.compiled(values)
            jax.block_until_ready(found)

        return run


@dataclass(frozen=True)
class FromHost:
    """A program of PyTorch's, which takes lists of NumPy arrays."""

    program: Any

    def start(self, params: Any, gradients: Any) -> Run:
        """Return a function that steps a copy of the parameters on."""
        return self.program.start(_on_host(params), _on_host(gradients))


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
    tx: optax.GradientTransformation, shapes: Any, times: int
) -> tuple[Step, dict[str, Any]]:
    """Return a donated step on parameters of given shapes, and what its making cost.

    Args:
        tx: the optimizer.
        shapes: tree of `jax.ShapeDtypeStruct`, of parameters and gradients alike.
        times: how often it is compiled.
    """

    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.eval_shape(tx.init, shapes)
    compiled, facts = compile_afresh(
        step, (shapes, state, shapes), donate=(0, 1), times=times
    )
    buffers = jax.tree.leaves(state)
    return Step(tx, compiled), dataclasses.asdict(facts) | {
        "state_buffers": len(buffers),
        "state_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in buffers),
    }


def torch_programs() -> dict[str, Program]:
    """Return PyTorch's optimizers, none where torch cannot be imported."""
    if torch_version() is None:
        print("torch cannot be imported: timing JAX alone")
        return {}
    from benchmarks.optimizer import torch_optimizers

    numbers = torch_optimizers.Settings(RATE, DECAY)
    found = torch_optimizers.programs(numbers)
    return {name: FromHost(program) for name, program in found.items()}


def torch_version() -> str | None:
    """Return torch's version, None where it cannot be imported."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        from benchmarks.optimizer import torch_optimizers
    except (ImportError, OSError):
        return None
    return torch_optimizers.version()


def drawn(shapes: Any, scale: float) -> Any:
    """Return normally distributed arrays of given shapes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            np.float32(scale) * rng.standard_normal(leaf.shape, dtype=np.float32)
        ),
        shapes,
    )


def _on_host(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
