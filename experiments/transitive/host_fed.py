"""Training on batches that the host makes, as all networks here are trained."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import jax

from lars_jax.optim import leaf_names
from lars_jax.runs import Program
from lars_jax.train import DataParallel, Hook, Interrupt, TrainState, fit
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.interrupt import NEVER


class HostFedProgram(Program[TrainState]):
    """A program whose network may begin with convolutions that were learned elsewhere.

    Attributes:
        parallel: the mesh.
        seed: of weights, data order and all else that is drawn.
        examples_per_step: that the rate of a row counts.
        log_every: steps between rows of metrics.
        train_step: `(state, batch, shared) -> (state, metrics)`, of every batch unless
            `step_of` chooses among several.
    """

    parallel: DataParallel
    seed: int
    examples_per_step: int
    log_every: int
    train_step: AheadOfTime

    @abstractmethod
    def drawn(self) -> TrainState:
        """Return the state before the first step, its weights drawn by the seed."""

    def learned(self, params: Any) -> Any:
        """Return the convolutions that were learned elsewhere, or None: there are none.

        Args:
            params: those that were drawn, with a network's `trunk` among them.
        """
        del params
        return None

    @abstractmethod
    def batches(self, start: int) -> Iterator[Any]:
        """Yield this process's rows of the batch of every step from `start` on."""

    def step_of(self, batch: Any) -> AheadOfTime:
        """Return the step for a batch, where shapes differ."""
        del batch
        return self.train_step

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What every step is given besides state and batch."""
        return self.parallel.replicate({"key": jax.random.key(self.seed)})

    def init(self) -> TrainState:
        """Return the state before the first step.

        Raises:
            InputError: a file of weights does not have these convolutions.
        """
        state = self.parallel.drawn(self.drawn)
        weights = self.learned(state.params)
        if weights is None:
            return state
        params = state.params | {"trunk": weights}
        return state._replace(params=self.parallel.replicate(params))

    def like(self) -> TrainState:
        """Return the shapes and shardings of a state."""
        return self.parallel.shapes(self.drawn)

    def fit(
        self,
        state: TrainState,
        *,
        start: int = 0,
        on_metrics: Callable[[int, dict[str, Any]], None] = lambda step, row: None,
        hooks: Sequence[Hook] = (),
        interrupt: Interrupt = NEVER,
    ) -> tuple[TrainState, int]:
        """Train from step `start` on; return the last state and its step."""
        return fit(
            lambda state, batch: self.step_of(batch).under(
                interrupt, state, batch, self.shared
            ),
            state,
            map(self.parallel.shard_batch, interrupt.each(self.batches(start))),
            steps=self.cadence.total,
            start=start,
            examples_per_step=self.examples_per_step,
            on_metrics=on_metrics,
            log_every=self.log_every,
            hooks=hooks,
            leaf_names=leaf_names(state.params),
            should_stop=lambda: interrupt.requested,
        )
