"""The host loop: feed batches to a step, watch what comes back, call hooks.

It runs ahead of the device by a bounded number of steps, so that the device never waits
for Python. The bound also keeps virtual CPU devices from deadlocking, as they do when
many collective steps are queued without a wait.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from lars_jax.errors import InputError
from lars_jax.train.interrupt import Interrupted
from lars_jax.train.stop import StopFlag

MAX_IN_FLIGHT = 8
"""Steps that may be queued on the device before the loop waits for the oldest."""

VITAL = ("loss", "nonfinite")
"""Metrics that are looked at after every step, whether its row is due or not."""

HostMetrics = dict[str, Any]


class NonFiniteError(ArithmeticError):
    """A loss or a gradient became NaN or infinite."""


class DataError(InputError):
    """The data cannot be read on, and where the run was then.

    Attributes:
        state: after the last step that had its data.
        step: the number of that step.
    """

    def __init__(self, error: InputError, state: Any, step: int):
        super().__init__(str(error))
        self.state, self.step = state, step


@dataclass(frozen=True)
class Hook:
    """Something to do with the state after certain steps.

    `due(step)` is asked after every step, `step` counting those completed. All steps
    up to it have been checked for non-finite values when `run(step, state)` is called.
    """

    due: Callable[[int], bool]
    run: Callable[[int, Any], None]


def every(steps: int, last: int) -> Callable[[int], bool]:
    """Return a `due` for each multiple of `steps` and for the last step.

    >>> [step for step in range(1, 8) if every(3, last=7)(step)]
    [3, 6, 7]
    """
    return lambda step: step % steps == 0 or step == last


def fit(
    step_fn: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    batches: Iterator[Any],
    *,
    steps: int,
    start: int = 0,
    stride: int = 1,
    examples_per_step: int = 0,
    on_metrics: Callable[[int, HostMetrics], None] = lambda step, metrics: None,
    log_every: int = 1,
    hooks: Sequence[Hook] = (),
    leaf_names: Sequence[str] = (),
    should_stop: Callable[[], bool] = lambda: False,
    ahead: int = MAX_IN_FLIGHT,
) -> tuple[Any, int]:
    """Run steps `start` to `steps` and return the last state and its step.

    Args:
        step_fn: `(state, batch) -> (state, metrics)`, compiled; `metrics` a dict of
            arrays with `loss` and, as `update` gives it, `nonfinite`.
        state: any tree of arrays, the state after `start` steps.
        batches: the batches from step `start` on.
        steps: number of completed steps to end at.
        start: number of steps already completed.
        stride: steps that one call of `step_fn` completes, on one item of `batches`; it
            divides `start` and `steps`. What is said of steps below then holds for
            calls, counted in steps.
        examples_per_step: for `images_per_second`.
        on_metrics: called with the step and its metrics on the host, to which
            `images_per_second` and `data_wait`, the share of time since the last call
            that was spent waiting for a batch, are added.
        log_every: steps between calls of `on_metrics`; the first step and the last are
            always given.
        hooks: see `Hook`.
        leaf_names: names of the gradient's leaves, for the message of an error.
        should_stop: whether this process wants to end early, asked before steps;
            several processes end after the same step, see `StopFlag`. An `Interrupted`
            from the batches or from a step that has not begun ends the loop too.
        ahead: steps that may be queued, at least 1; their batches lie on the device.

    Returns:
        The state and the number of steps completed, below `steps` if stopped early.

    Raises:
        DataError: the batches raised `InputError`.
        NonFiniteError: naming the first step that was not finite, or the last of the
            call that it was in, and its leaves.

    >>> import itertools, jax.numpy as jnp
    >>> halve = lambda x, batch: (x / 2, {"loss": x})
    >>> state, step = fit(halve, jnp.float32(8.0), itertools.repeat(None), steps=3)
    >>> print(state, step)
    1.0 3
    """
    stop = StopFlag(should_stop)
    due = every(log_every, steps)
    watch = _Watch(examples_per_step, due, stride, leaf_names, on_metrics)
    in_flight: deque[tuple[int, Any]] = deque()

    def drain(limit: int) -> None:
        while len(in_flight) > limit:
            watch.arrived(*in_flight.popleft())

    step = start
    while step < steps and not stop():
        try:
            batch = watch.wait(batches)
            state, metrics = step_fn(state, batch)
        except Interrupted:
            break
        except InputError as error:
            drain(0)
            raise DataError(error, state, step) from error
        step += stride
        in_flight.append((step, metrics))
        drain(ahead)
        for hook in hooks:
            if hook.due(step):
                drain(0)
                with watch.paused():
                    hook.run(step, state)
    drain(0)
    return state, step


@dataclass
class _Watch:
    """Times the loop and checks and hands on the metrics of each finished step."""

    examples_per_step: int
    due: Callable[[int], bool]
    stride: int
    leaf_names: Sequence[str]
    on_metrics: Callable[[int, HostMetrics], None]

    def __post_init__(self) -> None:
        self._restart()

    def wait(self, batches: Iterator[Any]) -> Any:
        """Return the next batch, counting the time it took to come."""
        asked = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - asked
        return batch

    def arrived(self, step: int, metrics: Any) -> None:
        """Block until a step is done; check it; pass its metrics on if they are due."""
        due = step == self.stride or self.due(step)
        # One transfer: every metric of a row that is due, else only what is checked.
        row = jax.device_get(
            metrics if due else {k: metrics[k] for k in VITAL if k in metrics}
        )
        nonfinite = row.pop("nonfinite", np.zeros(0, bool))
        # A call of several steps tells that one of them was not finite, not which.
        when = f"{'at' if self.stride == 1 else 'by'} step {step}"
        _check_finite(when, row["loss"], nonfinite, self.leaf_names)
        self._steps += self.stride
        if not due:
            return
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        row["images_per_second"] = self._steps * self.examples_per_step / elapsed
        row["data_wait"] = min(self._waited / elapsed, 1.0)
        self.on_metrics(step, row)
        self._restart()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of the timings what happens inside the block."""
        entered = time.perf_counter()
        try:
            yield
        finally:
            self._since += time.perf_counter() - entered

    def _restart(self) -> None:
        self._since = time.perf_counter()
        self._waited = 0.0
        self._steps = 0


def _check_finite(
    when: str, loss: Any, nonfinite: np.ndarray, leaf_names: Sequence[str]
) -> None:
    bad = np.flatnonzero(nonfinite)
    if not len(bad) and np.isfinite(loss):
        return
    known = dict(enumerate(leaf_names))
    names = [known.get(i, f"leaf {i}") for i in bad.tolist()]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
    raise NonFiniteError(
        f"training must stay finite; {when} the loss was {loss} and the "
        f"gradient was not finite in {shown or 'no leaf'}: start a new run with a "
        "lower learning rate or a longer warm-up"
    )
