"""What a run of this experiment trains, says and leaves.

Beside the files of every run there are

samples/         a few samples at each evaluation
gallery.npz      what the report shows of the end
report.html      all of it to look at, and the pictures as PNG or SVG beside it
"""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import jax

from experiments.mgan.evaluation import Measure, evaluate, make_measure
from experiments.mgan.gallery import GALLERY, make_gallery
from experiments.mgan.game import GameState
from experiments.mgan.mixture import make_mixture
from experiments.mgan.plane import score_true_samples
from experiments.mgan.snapshots import save_snapshot, take_snapshot
from experiments.mgan.trainer import Trainer
from lars_jax.runs import Cadence, Files, Program
from lars_jax.train import Interrupt
from lars_jax.train.record import plain
from lars_jax.train.weights import save_weights

DISTANCES = ("average/wasserstein", "average/fid", "average/distance")
"""Names that the distance from the data may have in an evaluation."""


class GameProgram(Trainer, Program[GameState]):
    """A game, as the shell runs it."""

    @cached_property
    def measured_by(self) -> tuple[Measure | None, str]:
        """What measures samples, and a line that says by what.

        Who only draws samples or exports weights needs no network for features.
        """
        return make_measure(self)

    def init(self) -> GameState:
        """Return the state before the first step.

        Raises:
            InputError: as `Trainer.init`, or the network for features cannot be used,
                which is refused before anything is written.
        """
        _ = self.measured_by
        return super().init()

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        config = self.config
        return Cadence(
            config.steps, config.eval_every, config.checkpoint_every, config.keep_every
        )

    def evaluate(self, state: GameState, interrupt: Interrupt) -> dict[str, float]:
        """Return the measures of a state."""
        measure, _ = self.measured_by
        return interrupt.run(partial(evaluate, self, measure, state))

    def weights(self, state: GameState) -> dict[str, Any]:
        """Return the averaged generators."""
        params, model_state = self.made_by(state, averaged=True)
        return {"params": params, "model_state": model_state}

    def describe(self, state: GameState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        config = self.config
        generators, judge = (
            sum(leaf.size for leaf in jax.tree.leaves(params))
            for params in (state.generators.params, state.judge.params)
        )
        processes = jax.process_count()
        among = "" if processes == 1 else f" in {processes} processes"
        yield (
            f"{config.rules.game}, {config.rules.generators} generators of "
            f"{generators:,} parameters in all against {judge:,}; "
            f"{self.inputs.name}; batch {config.batch}, {config.fakes} samples "
            f"of each generator, {config.steps:,} steps on "
            f"{self.parallel.num_devices} x {jax.devices()[0].device_kind}{among}"
        )
        yield from self.describe_evaluation()

    def describe_evaluation(self) -> Iterator[str]:
        """Yield what images are measured by, if by anything."""
        _, note = self.measured_by
        if note:
            yield note

    def facts(self) -> dict[str, Any]:
        """Return what a start runs on."""
        return {"devices": self.parallel.num_devices}

    def baseline(self) -> dict[str, float]:
        """Return the distances that as many true samples have, if known.

        No generator can be asked to come below them.
        """
        if self.inputs.image is not None:
            return {}
        mixture = make_mixture(self.config.data)
        found = score_true_samples(mixture, self.config.eval_samples)
        return {f"floor/{name}": value for name, value in found.items()}

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics, with the rate in steps beside that in samples."""
        del step
        row = plain(metrics)
        rate = row["images_per_second"] / self.config.batch
        return {**row, "steps_per_second": rate}

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        losses = [
            f"{name[0].upper()} {row[name]:.3f}"
            for name in ("discriminator_loss", "generator_loss", "classifier_loss")
            if name in row
        ]
        return " ".join([*losses, f"{row['steps_per_second']:.3g} steps/s"])

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line, averaged generators in brackets."""
        parts = [f"{evaluation['count']:.0f} samples"]
        for name, value in evaluation.items():
            if "/" in name or name == "count":
                continue
            average = evaluation.get(f"average/{name}")
            beside = "" if average is None else f" ({average:.3f})"
            parts.append(f"{name.replace('_', ' ')} {value:.3f}{beside}")
        return ", ".join(parts)

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the negative distance from the data, where it is known."""
        known = [evaluation[name] for name in DISTANCES if name in evaluation]
        return -known[0] if known else None

    def on_evaluate(self, state: GameState, files: Files) -> None:
        """Leave some samples of a state."""
        snapshot = take_snapshot(self, state)
        if files.writes:
            save_snapshot(files.directory, snapshot)

    def on_finish(self, state: GameState, files: Files, interrupt: Interrupt) -> None:
        """Write what the report shows of images."""
        if self.inputs.image is None:
            return
        gallery = interrupt.run(partial(make_gallery, self, state))
        if files.writes:
            save_weights(files.directory / GALLERY, gallery._asdict())
