"""Learning-rate schedules of large-batch training.

They are written in `jax.numpy` throughout, so that peak, length and warm-up may be
traced values: one compiled step then serves every rate of a sweep.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lars_jax.optim.numbers import Scalar, require_number


def warmup_polynomial(
    peak: Scalar,
    total_steps: Scalar,
    warmup_steps: Scalar = 0,
    *,
    power: Scalar = 2.0,
    start: Scalar = 0.0,
    end: Scalar = 0.0,
    decay_from: Literal["start", "warmup"] = "start",
) -> Callable[[ArrayLike], jax.Array]:
    """Return a linear warm-up joined to a polynomial decay.

    For step t, warm-up W and total T:

        t <  W:  start + (peak - start) * t / W
        t >= W:  end + (peak - end) * (1 - (t - s) / (T - s)) ** power

    with s = 0 as in Algorithm 1, whose decay runs over the whole of training, so that
    the rate drops a little at the joint; or s = W, the practice of MLPerf, which
    starts its decay from the peak.

    Args:
        peak: gamma_0, the rate that warm-up leads to.
        total_steps: T, in updates. From T on the rate stays at `end`, if the decay has
            a step at least and a power above 0.
        warmup_steps: W, in updates; 0 for none. May be fractional.
        power: of the decay; the paper has 2.
        start: rate at step 0 of the warm-up.
        end: rate at step T.
        decay_from: "start" for s = 0, "warmup" for s = W.

    Returns:
        A function from the step, an integer, to a float32 scalar.

    Raises:
        ValueError: another `decay_from`; what is no finite number from zero on, no
            step at all, a warm-up of all steps. The values of JAX's arrays, which may
            be traced, are not looked at.

    Reference:
        Algorithm 1 and Section 3 of https://arxiv.org/abs/1708.03888

    >>> schedule = warmup_polynomial(2.0, 100, 10)
    >>> [round(float(schedule(step)), 3) for step in (0, 5, 10, 50, 100)]
    [0.0, 1.0, 1.62, 0.5, 0.0]
    """
    if decay_from not in ("start", "warmup"):
        raise ValueError(
            f"decay_from must be 'start' or 'warmup'; got {decay_from!r}: name one"
        )
    numbers = {"peak": peak, "power": power, "start": start, "end": end}
    for name, value in numbers.items():
        require_number(name, value)
    require_number("total_steps", total_steps, positive=True)
    bound = float("inf") if isinstance(total_steps, jax.Array) else total_steps
    require_number("warmup_steps", warmup_steps, below=bound)

    def schedule(count: ArrayLike) -> jax.Array:
        step = jnp.asarray(count, jnp.float32)
        warmup = jnp.asarray(warmup_steps, jnp.float32)
        total = jnp.asarray(total_steps, jnp.float32)
        shift = warmup if decay_from == "warmup" else 0.0
        left = 1 - (step - shift) / jnp.maximum(total - shift, 1.0)
        decayed = end + (peak - end) * jnp.clip(left, 0.0, 1.0) ** power
        rising = start + (peak - start) * step / jnp.maximum(warmup, 1.0)
        return jnp.where(step < warmup, rising, decayed)

    return schedule
