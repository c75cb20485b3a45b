"""What a run of this experiment trains, says and leaves.

Beside the files of every run there are

samples/         a few samples at each evaluation
gallery.npz      what the report shows of the end
report.html      all of it to look at, and the pictures as PNG or SVG beside it
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from experiments.mgan.config import Config
from experiments.mgan.evaluation import Evaluate, make_evaluation, true_score
from experiments.mgan.gallery import make_gallery
from experiments.mgan.game import GameState
from experiments.mgan.inputs import to_bytes
from experiments.mgan.results import save_gallery
from experiments.mgan.snapshots import save_snapshot, take_snapshot, write_arrays
from experiments.mgan.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.runs import Cadence, Experiment, Files, Program
from lars_jax.runs.train import restore
from lars_jax.train import Hook, Interrupt
from lars_jax.train.record import plain

DISTANCES = ("average/wasserstein", "average/fid", "average/distance")
"""Names that the distance from the data may have in an evaluation."""

DRAW_USE = 2
"""Tells samples that are asked for from those that are measured or shown."""


@dataclass(frozen=True)
class GameProgram(Program[GameState]):
    """A game, as the shell runs it."""

    trainer: Trainer
    measure: Evaluate

    @classmethod
    def create(cls, config: Config) -> "GameProgram":
        """Load the data and build the steps of a configuration."""
        trainer = Trainer.create(config)
        # First what may be refused, then what takes long to compile.
        return cls(trainer, make_evaluation(trainer))

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        config = self.trainer.config
        return Cadence(
            config.steps, config.eval_every, config.checkpoint_every, config.keep_every
        )

    def init(self) -> GameState:
        """Return the state before the first step."""
        return self.trainer.initial_state()

    def like(self) -> GameState:
        """Return a state to restore into; no file of weights is read for it."""
        return self.trainer.drawn_state()

    def fit(
        self,
        state: GameState,
        *,
        start: int,
        on_metrics: Callable[[int, dict[str, Any]], None],
        hooks: Sequence[Hook],
        interrupt: Interrupt,
    ) -> tuple[GameState, int]:
        """Train from step `start` on; return the last state and its step."""
        return self.trainer.fit(
            state, start=start, on_metrics=on_metrics, hooks=hooks, interrupt=interrupt
        )

    def evaluate(self, state: GameState, interrupt: Interrupt) -> dict[str, float]:
        """Return the measures of a state."""
        return interrupt.run(partial(self.measure, state))

    def weights(self, state: GameState) -> dict[str, Any]:
        """Return the averaged generators."""
        params, model_state = self.trainer.made_by(state, averaged=True)
        return {"params": params, "model_state": model_state}

    def describe(self, state: GameState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        config, parallel = self.trainer.config, self.trainer.parallel
        generators, judge = (
            sum(leaf.size for leaf in jax.tree.leaves(params))
            for params in (state.generators.params, state.judge.params)
        )
        processes = jax.process_count()
        among = "" if processes == 1 else f" in {processes} processes"
        yield (
            f"{config.rules.game}, {config.rules.generators} generators of "
            f"{generators:,} parameters in all against {judge:,}; "
            f"{self.trainer.inputs.name}; batch {config.batch}, {config.fakes} samples "
            f"of each generator, {config.steps:,} steps on "
            f"{parallel.num_devices} x {jax.devices()[0].device_kind}{among}"
        )
        yield from self.describe_evaluation()

    def describe_evaluation(self) -> Iterator[str]:
        """Yield what images are measured by, if by anything."""
        if self.measure.note:
            yield self.measure.note

    def facts(self) -> dict[str, Any]:
        """Return what a start runs on."""
        return {"devices": self.trainer.parallel.num_devices}

    def baseline(self) -> dict[str, float]:
        """Return the distances of as many true samples, where they are known."""
        return true_score(self.trainer)

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics, with the rate in steps beside that in samples."""
        del step
        row = plain(metrics)
        rate = row["images_per_second"] / self.trainer.config.batch
        return {**row, "steps_per_second": rate}

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return format_row(row)

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line."""
        return format_evaluation(evaluation)

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the negative distance from the data, where it is known."""
        known = [evaluation[name] for name in DISTANCES if name in evaluation]
        return -known[0] if known else None

    def on_evaluate(self, state: GameState, files: Files) -> None:
        """Leave some samples of a state."""
        snapshot = take_snapshot(self.trainer, state)
        if files.writes:
            save_snapshot(files.directory, snapshot)

    def on_finish(self, state: GameState, files: Files, interrupt: Interrupt) -> None:
        """Write what the report shows of images."""
        if self.trainer.inputs.image is None:
            return
        gallery = interrupt.run(partial(make_gallery, self.trainer, state))
        if files.writes:
            save_gallery(files.directory, gallery)


def draw(
    experiment: Experiment[Config],
    directory: Path,
    path: Path,
    count: int,
    *,
    which: str,
    averaged: bool,
) -> int:
    """Write samples of a checkpoint to a file and return its step.

    The file holds `values`, points float32 [N, 2] or images uint8 [N, S, S, channels],
    and `generator`, which of them made each, int64 [N].

    Raises:
        InputError: the directory holds no run or no checkpoint, the file is no .npz, or
            no samples are asked for.
    """
    if path.suffix != ".npz" or not path.parent.is_dir() or path.is_dir():
        raise InputError(
            "samples must be written to a file *.npz in a directory that is there; got "
            f"{path}: name another"
        )
    if count < 1:
        raise InputError(
            f"samples must be above 0; got {count}: set --samples to such a value"
        )
    found = restore(experiment, directory, which)
    trainer: Trainer = found.program.trainer
    values, generator = trainer.sample(
        found.state, count, averaged=averaged, use=DRAW_USE
    )
    if trainer.inputs.image is not None:
        values = to_bytes(values)
    write_arrays(path, {"values": values, "generator": generator})
    return found.step


def format_row(row: Mapping[str, Any]) -> str:
    """Return a row of metrics as a short line.

    >>> format_row({"discriminator_loss": 1.386, "generator_loss": 0.693,
    ...             "classifier_loss": 0.02, "steps_per_second": 250.4})
    'D 1.386 G 0.693 C 0.020 250 steps/s'
    """
    names = {"D": "discriminator_loss", "G": "generator_loss", "C": "classifier_loss"}
    losses = [f"{name} {row[key]:.3f}" for name, key in names.items() if key in row]
    return " ".join([*losses, f"{row['steps_per_second']:.3g} steps/s"])


def format_evaluation(found: Mapping[str, float]) -> str:
    """Return an evaluation as a short line, the averaged generators in brackets.

    >>> format_evaluation({"count": 100.0, "wasserstein": 0.1,
    ...                    "average/wasserstein": 0.05})
    '100 samples, wasserstein 0.100 (0.050)'
    """
    parts = [f"{found['count']:.0f} samples"]
    for name, value in found.items():
        if "/" in name or name == "count":
            continue
        average = found.get(f"average/{name}")
        beside = "" if average is None else f" ({average:.3f})"
        parts.append(f"{name.replace('_', ' ')} {value:.3f}{beside}")
    return ", ".join(parts)
