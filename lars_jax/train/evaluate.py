"""Exact evaluation: every example counted once, and the count checked."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from lars_jax.train.interrupt import Interrupted
from lars_jax.train.loop import MAX_IN_FLIGHT
from lars_jax.train.stop import StopFlag


def evaluate(
    eval_step: Callable[[Any], dict[str, jax.Array]],
    batches: Iterable[Any],
    *,
    expected: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Sum what a step measures over all batches, and divide by the examples counted.

    Args:
        eval_step: batch -> sums over the examples that count, `count` among them; an
            example that only pads a batch must add nothing.
        batches: the whole data set.
        expected: the number of examples in it.
        should_stop: whether this process wants to end early, asked before batches;
            several processes end after the same one, see `StopFlag`.

    Returns:
        The mean of each sum, and `count` itself.

    Raises:
        Interrupted: it was asked to stop.
        RuntimeError: the count is not `expected`: some example was left out or counted
            twice, so that no number from this evaluation can be believed.

    >>> import jax.numpy as jnp
    >>> step = lambda batch: {"loss": batch.sum(), "count": jnp.array(batch.size)}
    >>> evaluate(step, [jnp.array([1.0, 2.0]), jnp.array([6.0])], expected=3)
    {'loss': 3.0, 'count': 3.0}
    """
    in_flight: deque[dict[str, jax.Array]] = deque()
    totals: dict[str, float] = {}

    def drain(limit: int) -> None:
        while len(in_flight) > limit:
            for name, value in jax.device_get(in_flight.popleft()).items():
                totals[name] = totals.get(name, 0.0) + float(np.float64(value))

    stop = StopFlag(should_stop)
    for batch in batches:
        if stop():
            drain(0)
            raise Interrupted
        in_flight.append(eval_step(batch))
        drain(MAX_IN_FLIGHT)
    drain(0)
    count = totals.pop("count", 0.0)
    if count != expected:
        raise RuntimeError(
            f"evaluation must count every example once; counted {count:.0f} of "
            f"{expected}"
        )
    return {name: total / count for name, total in totals.items()} | {"count": count}
