"""What an experiment is: a record of its parts, and a program that trains.

Everything that does not know an experiment's science is in this package: commands, run
directories, checkpoints, resuming, signals, several processes. An experiment brings a
configuration, presets, and a `Program`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
from jax.sharding import Mesh

from lars_jax.runs.files import Files
from lars_jax.runs.presets import Preset
from lars_jax.train import Hook, Interrupt
from lars_jax.train.record import plain

C = TypeVar("C")
S = TypeVar("S")

Metrics = Mapping[str, Any]

Sources = Mapping[str, Any]
"""The splits of the data that a run reads, each a `lars_jax.data.source.Collection`, by
what it calls them."""


@dataclass(frozen=True)
class Cadence:
    """When a run evaluates, saves and ends, in steps.

    Attributes:
        total: steps of the whole run, the last of which is evaluated and saved.
        evaluate: steps between evaluations.
        checkpoint: steps between checkpoints, of which the last two and the best stay.
        keep: steps between checkpoints that stay for good, a multiple of `checkpoint`.
    """

    total: int
    evaluate: int
    checkpoint: int
    keep: int | None = None


class Program(ABC, Generic[S]):
    """A configuration with its data and its compiled steps; S is the state it trains.

    The state is a tree of arrays. The same configuration gives the same program, and
    the same state after the same steps, bit for bit: data order and randomness are
    functions of the seed and the step.

    Attributes:
        unneeded: name of the field, wherever in its state, that only training needs:
            a run is evaluated though this was of another form when it was saved.
    """

    unneeded = "opt_state"

    @property
    @abstractmethod
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""

    @abstractmethod
    def init(self) -> S:
        """Return the state before the first step."""

    def like(self) -> S:
        """Return a state of the same shapes and shardings, to restore into.

        `jax.ShapeDtypeStruct`s will do, so that a device need not hold two states.
        """
        return self.init()

    def resumed(self, state: S) -> S:
        """Return a restored state as the run goes on with it.

        What the length of the run decides may be other than when it was saved, as the
        data may be.

        Raises:
            InputError: a run of this length cannot be.
        """
        return state

    @abstractmethod
    def fit(
        self,
        state: S,
        *,
        start: int,
        on_metrics: Callable[[int, dict[str, Any]], None],
        hooks: Sequence[Hook],
        interrupt: Interrupt,
    ) -> tuple[S, int]:
        """Train from step `start` on; return the last state and its step.

        It is `lars_jax.train.fit` with everything filled in that the shell cannot know.
        """

    @abstractmethod
    def evaluate(self, state: S, interrupt: Interrupt) -> dict[str, float]:
        """Return the numbers of a state by name.

        Raises:
            Interrupted: a signal came.
        """

    def weights(self, state: S) -> Any:
        """Return the tree of arrays that `export` writes."""
        return state

    def about(self) -> dict[str, str]:
        """Return what an exported file says of its network, beside its arrays."""
        return {}

    # What a run says and leaves, beside its numbers.

    def describe(self, state: S) -> Iterable[str]:
        """Yield lines that say what is about to run."""
        del state
        return ()

    def describe_evaluation(self) -> Iterable[str]:
        """Yield what the numbers of `eval` are measured by, if their names do not."""
        return ()

    def facts(self) -> dict[str, Any]:
        """Return what a start runs on, for the record; no number depends on it."""
        return {"devices": jax.device_count()}

    def resolved(self) -> dict[str, Any]:
        """Return what the configuration left to the machine, for the run's record."""
        return {}

    def baseline(self) -> dict[str, float]:
        """Return what is known before the first step, recorded as step 0."""
        return {}

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of `metrics.jsonl` from the metrics of a step."""
        del step
        return plain(metrics)

    def layers(self, step: int, metrics: Metrics) -> dict[str, Any] | None:
        """Return a row of `layers.jsonl`, or None where none is due."""
        del step, metrics
        return None

    def format_row(self, row: Metrics) -> str:
        """Return a row as a short line for the progress bar."""
        return f"loss {row['loss']:.3f}"

    def format_evaluation(self, evaluation: Metrics) -> str:
        """Return an evaluation as a short line."""
        return ", ".join(f"{name} {value:.4g}" for name, value in evaluation.items())

    def score(self, evaluation: Metrics) -> float | None:
        """Return by what the best checkpoint is kept, the higher the better."""
        del evaluation
        return None

    def on_evaluate(self, state: S, files: Files) -> None:
        """Leave something beside the numbers of an evaluation.

        It is called on every process; `files.writes` says whether this one writes.
        """

    def on_finish(self, state: S, files: Files, interrupt: Interrupt) -> None:
        """Write what can only be written at the end, before the report.

        Raises:
            Interrupted: a signal came.
        """


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """A science with a configuration, for `lars_jax.runs.cli.main` to run.

    Attributes:
        command: how it is called, such as `python -m experiments.lars`.
        summary: one line for `--help`.
        config: a frozen dataclass; its fields are the flags. It has `seed`, and
            `devices` where the number of devices can be chosen.
        presets: configurations by name.
        default: the preset where none is named.
        check: returns a configuration if it can run, else raises `InputError`.
        sources: opens the data of a configuration, by split. A run remembers what they
            were, and goes on with no others.
        files: other files that the numbers of a configuration depend on, by what they
            are to it: one, or several of one folder, to which none may be added. They
            are remembered like its data.
        build: makes the program of a configuration and its data; None: nothing is
            trained but by its own verbs.
        report: writes the report of a run directory, finished or not, and returns it.
        show: yields the lines of `show`.
        compile: from a configuration, a mesh whose devices need not be here and the
            bytes of each to a line about the step and the compiled training step.
        placement: fields that may change when a run goes on: they say where it runs.
        freeze_auto: from a configuration and the `resolved` part of its run's record to
            the configuration with what the machine chose when the run began.
        to_evaluate: the configuration for a run that is evaluated and not trained.
        evaluate_flags: dataclass of further flags of `eval`, each a field of the
            configuration that matters to evaluation alone, None where it is not given.
        measured_by: fields, None where nothing is named, of what evaluation needs
            beside the data: weights are exported though it be gone.
        verbs: further commands by name.
    """

    command: str
    summary: str
    config: type[C]
    presets: Mapping[str, Preset[C]]
    default: str
    check: Callable[[C], C]
    build: Callable[[C, Sources], Program[Any]] | None
    sources: Callable[[C], Sources] = lambda config: {}
    files: Callable[[C], Mapping[str, Path | Sequence[Path]]] = lambda config: {}
    report: Callable[[Path], Path] | None = None
    show: Callable[[C], Iterable[str]] | None = None
    compile: Callable[[C, Mesh, int], tuple[str, Any]] | None = None
    placement: tuple[str, ...] = ("devices",)
    freeze_auto: Callable[[C, Mapping[str, Any]], C] = lambda config, resolved: config
    to_evaluate: Callable[[C], C] = lambda config: config
    evaluate_flags: type | None = None
    measured_by: tuple[str, ...] = ()
    verbs: Mapping[str, "Verb"] = dataclasses.field(default_factory=dict)

    def made(self, config: C, sources: Sources) -> Program[Any]:
        """Return the program of a configuration and its data."""
        assert self.build is not None, "it has no verbs that would ask for it"
        return self.build(config, sources)


@dataclass(frozen=True)
class Verb:
    """A command of an experiment.

    Attributes:
        usage: the words after it in the help, such as `PRESET ... [--seeds N]`.
        summary: what it does, in a few words.
        run: takes the experiment and the words after the verb, returns the exit status.
    """

    usage: str
    summary: str
    run: Callable[["Experiment[Any]", list[str]], int]
