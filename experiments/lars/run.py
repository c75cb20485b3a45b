"""What a run of this experiment trains, says and leaves.

Beside the files of every run there are

mistakes.npz     what the trained network got wrong
report.html      curves, trust ratios and mistakes, to look at
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from experiments.lars.config import Config, rule_name
from experiments.lars.microbatches import resolved
from experiments.lars.results import save_mistakes
from experiments.lars.trainer import Trainer
from lars_jax.optim import FIELDS, leaf_names
from lars_jax.runs import Cadence, Files, Program
from lars_jax.train import Hook, Interrupt, TrainState
from lars_jax.train.record import plain

LAYER_ROWS = 100
"""Rows of layer telemetry that a run leaves, or all that it logs where that is less."""


@dataclass(frozen=True)
class LarsProgram(Program[TrainState]):
    """The training of a network, as the shell runs it."""

    trainer: Trainer

    @classmethod
    def create(cls, config: Config) -> "LarsProgram":
        """Load the data and build the steps of a configuration."""
        return cls(Trainer.create(config))

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        config, checkpoint = self.trainer.config, self._steps("checkpoint_every")
        keep = None
        if config.keep_every is not None:
            keep = checkpoint * round(config.keep_every / config.checkpoint_every)
        total = self.trainer.inputs.total_steps
        return Cadence(total, self._steps("eval_every"), checkpoint, keep)

    def init(self) -> TrainState:
        """Return the state before the first step."""
        return self.trainer.initial_state()

    def like(self) -> TrainState:
        """Return the shapes and shardings of a state."""
        return self.trainer.state_shapes()

    def fit(
        self,
        state: TrainState,
        *,
        start: int,
        on_metrics: Callable[[int, dict[str, Any]], None],
        hooks: Sequence[Hook],
        interrupt: Interrupt,
    ) -> tuple[TrainState, int]:
        """Train from step `start` on; return the last state and its step."""
        return self.trainer.fit(
            state, start=start, on_metrics=on_metrics, hooks=hooks, interrupt=interrupt
        )

    def evaluate(self, state: TrainState, interrupt: Interrupt) -> dict[str, float]:
        """Return accuracy, loss and count of a state."""
        return self.trainer.evaluate(state, interrupt)

    def weights(self, state: TrainState) -> dict[str, Any]:
        """Return weights and batch statistics, as evaluation uses them."""
        state = self.trainer.evaluation_state(state)
        return {"params": state.params, "model_state": state.model_state}

    def describe(self, state: TrainState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        inputs, config = self.trainer.inputs, self.trainer.config
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        processes = jax.process_count()
        among = "" if processes == 1 else f" in {processes} processes"
        yield (
            f"{config.model.network}, {parameters:,} parameters; "
            f"{config.data.dataset}: {len(inputs.train):,} images to train on, "
            f"{len(inputs.evaluation):,} to evaluate; {rule_name(config.optimizer)}, "
            f"global batch {config.global_batch}, {inputs.total_steps} steps on "
            f"{inputs.parallel.num_devices} x {jax.devices()[0].device_kind}{among}"
            + ("" if config.state_sharding == "none" else f", {config.state_sharding}")
        )
        yield self.trainer.parts

    def facts(self) -> dict[str, Any]:
        """Return what a start runs on."""
        return {
            "devices": self.trainer.inputs.parallel.num_devices,
            "backend": self.trainer.config.backend,
            "microbatches": self.trainer.config.microbatches,
        }

    def resolved(self) -> dict[str, Any]:
        """Return how the batch was cut, for the run's record."""
        devices = self.trainer.inputs.parallel.num_devices
        return resolved(self.trainer.config, devices, self.trainer.parts)

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics, its loss and accuracy those of training."""
        row = plain(metrics)
        return {
            "epoch": step / self.trainer.inputs.steps_per_epoch,
            "train/loss": row.pop("loss"),
            "train/accuracy": row.pop("accuracy"),
            **row,
        }

    def layers(
        self, step: int, metrics: Mapping[str, Any]
    ) -> dict[str, dict[str, float]] | None:
        """Return norms, trust ratio and rate of every layer, now and then."""
        total = self.trainer.inputs.total_steps
        interval = layer_interval(total, self.trainer.config.log_every)
        if step not in (1, total) and step % interval:
            return None
        return {
            name: dict(zip(FIELDS, values.tolist(), strict=True))
            for name, values in zip(self._names, metrics["layer_norms"], strict=True)
        }

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return (
            f"epoch {row['epoch']:.1f} loss {row['train/loss']:.3f} "
            f"lr {row['learning_rate']:.3g} {row['images_per_second']:.0f} images/s "
            f"wait {100 * row['data_wait']:.1f}%"
        )

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line."""
        return (
            f"accuracy {100 * evaluation['accuracy']:.2f} % of "
            f"{evaluation['count']:.0f}, loss {evaluation['loss']:.4f}"
        )

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the accuracy, by which the best checkpoint is kept."""
        return evaluation.get("accuracy")

    def on_finish(self, state: TrainState, files: Files, interrupt: Interrupt) -> None:
        """Write what the trained network gets wrong."""
        predictions = self.trainer.predict(state, interrupt)
        if files.writes:
            save_mistakes(files.directory, self.trainer.inputs, *predictions)

    def _steps(self, name: str) -> int:
        """Return a field in epochs as whole updates, at least one."""
        epochs = getattr(self.trainer.config, name)
        return max(1, round(epochs * self.trainer.inputs.steps_per_epoch))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return leaf_names(self.like().params)


def layer_interval(total: int, log_every: int) -> int:
    """Return the steps between rows of layer telemetry, a multiple of `log_every`.

    >>> layer_interval(1000, 1), layer_interval(1000, 7), layer_interval(50, 10)
    (10, 14, 10)
    """
    wanted = max(1, total // LAYER_ROWS)
    return -(-wanted // log_every) * log_every
