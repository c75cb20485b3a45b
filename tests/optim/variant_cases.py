"""Thirty steps of every published variant, in JAX and beside the oracle."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.optim import lars, layer_norms
from tests.optim.forms import accelerated
from tests.optim.oracle import Oracle, Taken

STEPS, WARMUP, PEAK = 30, 6, 2.0

# Rounded once, so that oracle and transformation are given the same numbers.
RATES = np.array(
    [
        PEAK * t / WARMUP if t < WARMUP else PEAK * (1 - t / STEPS) ** 2
        for t in range(STEPS)
    ],
    np.float32,
)


@dataclass(frozen=True)
class Case:
    """What a run is given besides its variant."""

    weight_decay: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    sizes: tuple[float, ...] = (1.0,)
    """Sizes of the gradients, by turns."""

    @property
    def far(self) -> bool:
        """Whether squares leave the range of float32, which accelerators alone bear."""
        return any(size and not 1e-15 < size < 1e15 for size in self.sizes)


ONE_ZERO_IN_FOUR = (1.0, 1.0, 1.0, 0.0)
BY_TURNS = (1.0, 1.0, 1e12, 1.0, 1e-12, 1.0, 0.0, 1.0, 1e25, 1.0, 1e-25)

CASES: Mapping[str, Case] = {
    "decay 0.5": Case(weight_decay=0.5),
    "momentum 0": Case(momentum=0.0),
    "zero steps": Case(sizes=ONE_ZERO_IN_FOUR),
    "zero steps, decay 0": Case(weight_decay=0.0, sizes=ONE_ZERO_IN_FOUR),
    "all zero": Case(sizes=(0.0,)),
    # The local rate is then of the order of the global one: a clip comes and goes.
    "1e-3, decay 0": Case(weight_decay=0.0, sizes=(1e-3,)),
    "1e12": Case(sizes=(1e12,)),
    "1e-12": Case(sizes=(1e-12,)),
    "1e25, decay 0": Case(weight_decay=0.0, sizes=(1e25,)),
    "1e-25": Case(sizes=(1e-25,)),
    "by turns": Case(sizes=BY_TURNS),
    "by turns, nesterov": Case(nesterov=True, sizes=BY_TURNS),
}

UNADAPTED = frozenset({"excluded", "excluded_zero", "unadapted"})
UNDECAYED = frozenset({"excluded", "excluded_zero", "undecayed"})


def some_weights() -> dict[str, np.ndarray]:
    """Return leaves of every rank, some zero-initialised, some left out of masks."""
    random = np.random.default_rng(0)
    return {
        "kernel": random.normal(size=(5, 4)).astype(np.float32),
        "bias": np.zeros(4, np.float32),
        "scale": np.ones(3, np.float32),
        "scalar": np.array(0.7, np.float32),
        "zero": np.array(0.0, np.float32),
        "excluded": np.full(3, 2.0, np.float32),
        "excluded_zero": np.zeros(3, np.float32),
        "unadapted": np.full(3, 0.5, np.float32),
        "undecayed": np.full(3, 3.0, np.float32),
    }


def some_gradients(sizes: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Return the gradients of all steps, stacked along axis 0."""
    random = np.random.default_rng(1)
    gradients = {}
    for name, w in some_weights().items():
        turns = np.resize(sizes, STEPS)
        if name == "undecayed" and len(set(sizes) - {0.0}) > 1:
            # Without decay a ratio has no bound. A buffer outside of it that holds
            # 1e12 then meets the ratio for a gradient of 1 and leaves float64 soon.
            turns = np.ones(STEPS)
        drawn = random.normal(size=(STEPS, *w.shape))
        if not w.shape:
            # A scalar pushed to and fro may end where it began, and a movement of
            # nothing has no relative error: it is pushed in one direction.
            drawn = 0.5 + np.abs(drawn)
        turns = turns.reshape(-1, *[1] * w.ndim)
        gradients[name] = (turns * drawn).astype(np.float32)
    return gradients


@dataclass(frozen=True)
class Run:
    """What the transformation did: weights before each step, updates and telemetry."""

    dtype: type[np.floating]
    weights: dict[str, np.ndarray]
    updates: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]


@cache
def run(variant: str, case: Case, dtype: type[np.floating]) -> Run:
    """Take the thirty steps in a dtype, as an accelerator does where it must be."""
    far = case.far and dtype == np.float32
    form = accelerated() if far else contextlib.nullcontext()
    with jax.enable_x64(dtype == np.float64), form:
        weights, gradients = (
            {name: jnp.asarray(x, dtype) for name, x in tree.items()}
            for tree in (some_weights(), some_gradients(case.sizes))
        )
        decay, rates = jnp.asarray(case.weight_decay, dtype), jnp.asarray(RATES, dtype)
        momentum = jnp.asarray(case.momentum, dtype)
        settings = (variant, case.nesterov, far)
        found = _trajectory(weights, gradients, rates, decay, momentum, *settings)
    before, updates, rows = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
    names = sorted(weights)
    columns = {name: rows[:, i] for i, name in enumerate(names)}
    return Run(dtype, before, updates, columns)


# All numbers are traced, so that many cases share one compilation.
@partial(jax.jit, static_argnums=(5, 6, 7))
def _trajectory(weights, gradients, rates, decay, momentum, variant, nesterov, far):
    del far  # What is traced, and so a part of the key.
    tx = lars(
        lambda count: rates[count],
        decay,
        {name: name not in UNDECAYED for name in weights},
        trust_ratio_mask={name: name not in UNADAPTED for name in weights},
        momentum=momentum,
        nesterov=nesterov,
        variant=variant,
    )

    def step(carry, g):
        w, state = carry
        updates, state = tx.update(g, state, w)
        return (optax.apply_updates(w, updates), state), (
            w,
            updates,
            layer_norms(state),
        )

    return jax.lax.scan(step, (weights, tx.init(weights)), gradients)[1]


def expected(variant: str, case: Case, beside: Run) -> dict[str, list[Taken]]:
    """Return the steps that the oracle takes beside a run, by leaf.

    It looks at the weights of the run before every step and not at its own, and rounds
    its settings as the run does: what is left is the rounding of the arithmetic, where
    0.9 as float32 raised to the power of thirty is 1e-6 off.
    """
    given = beside.dtype
    weights = some_weights()
    oracle = Oracle(
        variant,
        weights,
        beta=float(given(case.weight_decay)),
        eta=float(given(1e-3)),
        momentum=float(given(case.momentum)),
        nesterov=case.nesterov,
        unadapted=UNADAPTED,
        undecayed=UNDECAYED,
    )
    gradients = some_gradients(case.sizes)
    steps: dict[str, list[Taken]] = {name: [] for name in weights}
    for t in range(STEPS):
        oracle.weights = {name: w[t] for name, w in beside.weights.items()}
        at_hand = {name: g[t] for name, g in gradients.items()}
        for name, taken in oracle.step(float(RATES[t]), at_hand).items():
            steps[name].append(taken)
    return steps


def step_errors(
    found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the largest relative error of a single step of each leaf.

    A buffer that passes through zero still holds what the steps before it were rounded
    to, so an error is relative to the largest of the last steps, as momentum of 0.9
    remembers them.
    """
    errors = dict.fromkeys(wanted, 0.0)
    for name, steps in wanted.items():
        size = 0.0
        for t, step in enumerate(steps):
            size = max(float(np.abs(step).max()), 0.9 * size)
            error = float(np.abs(found[name][t] - step).max())
            if error:
                relative = error / size if size else float("inf")
                errors[name] = max(errors[name], relative)
    return errors


def moves(steps: dict[str, list[Taken]]) -> dict[str, np.ndarray]:
    """Return the updates of the oracle's steps, stacked along axis 0."""
    return {name: -np.stack([t.moved for t in taken]) for name, taken in steps.items()}
