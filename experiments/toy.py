"""The smallest experiment: x <- rate * x, with all that the shell does for a run.

docs/add_an_experiment.md walks through it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.errors import InputError
from lars_jax.runs import (
    BelowOne,
    Cadence,
    Experiment,
    PathText,
    Positive,
    Preset,
    Program,
    Seed,
    Sources,
    check_ranges,
    cli,
)
from lars_jax.train import DataParallel, Hook, Interrupt, data_mesh, fit
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.config import replace_fields
from lars_jax.train.interrupt import end
from lars_jax.train.record import read_rows, write_text
from lars_jax.train.weights import load_weights

SIZE = 8
"""Entries of x."""

State = dict[str, jax.Array]


@dataclass(frozen=True)
class Config:
    """One run, complete: the same config and code give the same bits."""

    rate: BelowOne = 0.9
    """What a step multiplies x by."""
    steps: Positive = 100
    """Length of the run."""
    eval_every: Positive = 20
    """Steps between evaluations; the last step is always evaluated."""
    checkpoint_every: Positive = 10
    """Steps between checkpoints; the last step is always saved."""
    keep_every: Positive | None = None
    """Steps between checkpoints kept for good; None: only the last two and best."""
    init_from: PathText | None = None
    """File that `export` wrote, to begin with; None: drawn from the seed."""
    seed: Seed = 0
    """Seed of the first x."""
    devices: Positive | None = None
    """Number of devices to use; None: all."""


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks.

    >>> check(Config()).steps
    100
    """
    check_ranges(config)
    keep = config.keep_every
    if keep is not None and keep % config.checkpoint_every:
        raise InputError(
            "keep_every must be a multiple of checkpoint_every, or left out; got "
            f"{keep} for {config.checkpoint_every}: choose a multiple"
        )
    return config


class Toy(Program[State]):
    """A vector that shrinks."""

    def __init__(self, config: Config, sources: Sources):
        del sources  # It has no data.
        self.config = config
        self.parallel = DataParallel(data_mesh(config.devices))

        def step(state: State, batch: None) -> tuple[State, dict[str, jax.Array]]:
            del batch
            x = config.rate * state["x"]
            return {"x": x}, {"loss": jnp.linalg.norm(x)}

        whole = self.parallel.replicated
        self.step = AheadOfTime(jax.jit(step, donate_argnums=0, out_shardings=whole))

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        config = self.config
        return Cadence(
            config.steps, config.eval_every, config.checkpoint_every, config.keep_every
        )

    def init(self) -> State:
        """Return the state before the first step."""
        if self.config.init_from is None:
            return self.like()
        found = load_weights(Path(self.config.init_from), self.like())
        return self.parallel.replicate(found)

    def like(self) -> State:
        """Return a state to restore into; no file of weights is read for it."""
        numbers = np.random.default_rng(self.config.seed)
        x = numbers.normal(size=SIZE).astype(np.float32)
        return self.parallel.replicate({"x": x})

    def fit(
        self,
        state: State,
        *,
        start: int,
        on_metrics: Callable[[int, dict[str, Any]], None],
        hooks: Sequence[Hook],
        interrupt: Interrupt,
    ) -> tuple[State, int]:
        """Train from step `start` on; return the last state and its step."""

        def step(state: State, batch: None) -> Any:
            return self.step.under(interrupt, state, batch)

        return fit(
            step,
            state,
            interrupt.each(None for _ in range(start, self.config.steps)),
            steps=self.config.steps,
            start=start,
            on_metrics=on_metrics,
            hooks=hooks,
            should_stop=lambda: interrupt.requested,
        )

    def evaluate(self, state: State, interrupt: Interrupt) -> dict[str, float]:
        """Return the largest entry of x."""
        interrupt.check()
        return {"largest": float(jnp.max(jnp.abs(state["x"])))}

    def score(self, evaluation: Any) -> float | None:
        """Return minus the largest entry: the best checkpoint is the smallest x."""
        return -evaluation["largest"] if "largest" in evaluation else None

    def describe(self, state: State) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        yield (
            f"{state['x'].size} numbers, {self.config.steps} steps on "
            f"{self.parallel.num_devices} devices in {jax.process_count()} processes"
        )


def write_report(directory: Path) -> Path:
    """Write the report of a run, finished or not."""
    found = [row for row in read_rows(directory / "metrics.jsonl") if "loss" in row]
    path = directory / "report.txt"
    write_text(path, "".join(f"{row['step']:6} {row['loss']:.3e}\n" for row in found))
    return path


TOY = Experiment(
    command="python -m experiments.toy",
    summary="Shrink a vector.",
    config=Config,
    presets={
        preset.name: preset
        for preset in (
            Preset("slow", Config(), "arithmetic", "2.7e-5 of the start", "no paper"),
            Preset(
                "fast",
                replace_fields(Config(), rate=0.5),
                "arithmetic",
                "8e-31 of the start",
                "no paper",
            ),
        )
    },
    default="slow",
    check=check,
    build=Toy,
    report=write_report,
)
"""The record that the shell runs."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(TOY, words)


if __name__ == "__main__":
    end(main())
