"""One run in one directory: train, stop, go on.

config.json      the configuration, and the environment it first ran in
attempts.jsonl   a row for each start and restart: where from, and on what
metrics.jsonl    a row for each logged step and each evaluation
layers.jsonl     rows of layers, where an experiment has them
events.*         the same scalars for TensorBoard
checkpoints/     the last two states, the best, and those kept for good
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from lars_jax.cpu import keep_memory
from lars_jax.errors import FileError, InputError
from lars_jax.files import local_path, make_directory
from lars_jax.runs.checks import IgnoredError
from lars_jax.runs.data import (
    RunData,
    digests,
    open_data,
    summaries,
    write_data,
    write_parts,
)
from lars_jax.runs.directory import (
    Resume,
    can_resume,
    create_run_directory,
    holds_run,
    read_run,
)
from lars_jax.runs.ending import TERMINATED
from lars_jax.runs.experiment import Experiment, Program
from lars_jax.runs.files import Files, RunFiles, warn
from lars_jax.runs.paths import absolute_paths
from lars_jax.runs.restore import (
    EVALUATION,
    as_begun,
    open_checkpoints,
    own_names,
    restore_newest,
)
from lars_jax.train import DataError, Hook, Interrupt, Interrupted, every
from lars_jax.train.config import digest, from_json, to_json
from lars_jax.train.processes import Processes, on_first
from lars_jax.train.record import append_row, environment, lock

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, its last step, its last evaluation."""

    status: int
    step: int
    evaluation: dict[str, float]


def train(
    experiment: Experiment[C],
    config: C,
    directory: Path,
    *,
    name: str = "custom",
    resume: Resume = "no",
    processes: Processes | None = None,
    grace: float | None = None,
    accept_data_change: bool = False,
) -> Outcome:
    """Train a configuration in a directory, from the start or from a checkpoint.

    Args:
        experiment: what is trained.
        config: its configuration.
        directory: where everything is written; made if absent. Several processes see
            the same one.
        name: name of the preset, for the record.
        resume: go on from the last checkpoint that can be read.
        processes: those that train it together, as `join` returned them.
        grace: seconds after a signal in which a step must end; see `Interrupt`.
        accept_data_change: go on though the data are not those that it began with.

    Raises:
        InputError: the configuration cannot run, the directory holds another run, or
            the data have changed.
    """
    keep_memory()
    directory, config = local_path(directory), absolute_paths(config)
    begun = resume != "no" and holds_run(directory)
    with contextlib.suppress(IgnoredError) if begun else contextlib.nullcontext():
        experiment.check(config)
    processes = processes or Processes()
    with Interrupt(grace=grace, alone=processes.alone) as interrupt:
        resumes = on_first(
            lambda: can_resume(
                config, directory, resume, placement=experiment.placement
            )
        )

        def prepare() -> tuple[RunData, Program[Any], Any]:
            frozen = as_begun(experiment, config, directory)
            # Before they are placed, which processes with other data cannot do.
            sources, data = open_data(
                experiment, frozen, directory if resumes else None, accept_data_change
            )
            program = experiment.made(frozen, sources)
            return data, program, program.like() if resumes else program.init()

        try:
            # Before anything is written, in case data or weights cannot be read.
            data, program, state = interrupt.run(prepare)
        except Interrupted:
            warn("stopped before the first step: there is nothing new to save")
            return Outcome(interrupt.exit_status, 0, {})
        record = {
            "preset": name,
            "digest": digest(config),
            "config": to_json(config),
            "resolved": program.resolved(),
            "data": summaries(data.found),
        }

        def begin() -> None:
            if not resumes:
                write_parts(directory, data.found)
                create_run_directory(directory, record)

        def remember() -> None:
            known = read_run(directory)
            before = to_json(from_json(experiment.config, known["config"]))
            after = to_json(config)
            after |= {k: before[k] for k in experiment.placement if k in before}
            if data.change or before != after:
                write_data(directory, {**known, "config": after}, data.found)

        run = _Run(
            experiment=experiment,
            program=program,
            directory=directory,
            state=state,
            interrupt=interrupt,
            processes=processes,
            data=data,
            begin=begin,
            remember=remember,
        )
        with run.opened(resumes):
            finished = run.run()
        # One of several processes stops for a signal that another has heard.
        status = interrupt.exit_status or (0 if finished else TERMINATED)
        return Outcome(status, run.step, run.evaluation if finished else {})


@dataclass
class _Run(Generic[S]):
    """A run at work in its directory, to its end or until it is asked to stop.

    What makes a run that was stopped end in the same bits is here: evaluations and
    checkpoints in their order, also where it was stopped within one of them.
    """

    experiment: Experiment[Any]
    program: Program[S]
    directory: Path
    state: S
    interrupt: Interrupt
    processes: Processes
    data: RunData
    begin: Callable[[], None]
    remember: Callable[[], None]
    step: int = 0
    evaluation: dict[str, float] = field(default_factory=dict)
    evaluated_at: int | None = None

    def __post_init__(self) -> None:
        self.cadence = self.program.cadence
        self.files = Files(self.directory)

    @contextlib.contextmanager
    def opened(self, resumes: bool) -> Any:
        """Hold the directory and its files; take up the newest checkpoint."""
        writes = self.processes.writes
        # Closes what is open even where another part cannot be opened or closed.
        with contextlib.ExitStack() as stack:
            if writes:
                make_directory(self.directory)
                stack.enter_context(lock(self.directory))
            # Only now: another may have begun here meanwhile.
            on_first(self.begin)
            self.checkpoints = open_checkpoints(
                self.directory, self.program, {"data": digests(self.data.found)}
            )
            stack.callback(self.checkpoints.close)
            if resumes:
                self._restore()
            if writes and resumes:
                # Only now: a checkpoint that other data do not fit stays with its own.
                self.remember()
            if writes:
                self.files = RunFiles(
                    self.directory,
                    total=self.cadence.total,
                    start=self.step if resumes else None,
                    stack=stack,
                    format_row=self.program.format_row,
                )
                self._record_attempt()
            yield

    def run(self) -> bool:
        """Train to the end; return False if it was stopped, and saved, before."""
        try:
            self._train()
            stopped = self.step < self.cadence.total
            if not stopped:
                self._finish()
        except Interrupted:
            stopped = True
        except InputError as error:
            if isinstance(error, FileError) and error.doing != "read":
                raise
            raise self._saved_before(error) from error
        if stopped:
            self.interrupt.honoured()
            self._stop()
        return not stopped

    def _saved_before(self, error: InputError) -> InputError:
        """Return the error of data that ended the run, once its state is saved."""
        if not self.processes.alone:
            return error  # The others are in a step that this one cannot join.
        if isinstance(error, DataError):
            self.state, self.step = error.state, error.step
        self.save(self.step, self.state)
        self.checkpoints.wait()
        return InputError(
            f"{str(error).rstrip('.')}; the run is saved at step {self.step} of "
            f"{self.cadence.total}: with --resume it goes on, and with "
            "--accept-data-change too where the data are to be others"
        )

    def evaluate(self, step: int, state: S) -> None:
        """Evaluate a state, and record what is found."""
        # Where it is stopped, this is what there is to save.
        self.state, self.step = state, step
        self.interrupt.check()
        self.program.on_evaluate(state, self.files)
        self.evaluation = self.program.evaluate(state, self.interrupt)
        self.evaluated_at = step
        self.files.row({"step": step, **self._named()})
        line = self.program.format_evaluation(self.evaluation)
        self.files.say(f"step {step}/{self.cadence.total}: {line}")

    def save(self, step: int, state: S) -> None:
        """Start to save a state, with its evaluation if it has been evaluated."""
        fresh = self._named() if self.evaluated_at == step else {}
        self.checkpoints.save(step, state, fresh)

    def _train(self) -> None:
        self._announce()
        cadence = self.cadence
        evaluates = every(cadence.evaluate, cadence.total)
        saves = every(cadence.checkpoint, cadence.total)

        def either(step: int) -> bool:
            return evaluates(step) or saves(step)

        # The rarer brings the other along, so that the best checkpoint is one of many.
        rare = cadence.checkpoint > cadence.evaluate
        evaluated = Hook(either if rare else evaluates, self.evaluate)
        saved = Hook(saves if rare else either, self.save)
        if self.step and evaluated.due(self.step) and self.evaluated_at != self.step:
            # Stopped within this evaluation, which the run without a break completes.
            evaluated.run(self.step, self.state)
            if saved.due(self.step):
                self.checkpoints.drop(self.step)
                saved.run(self.step, self.state)
        self.state, self.step = self.program.fit(
            self.state,
            start=self.step,
            on_metrics=self._log,
            hooks=[evaluated, saved],
            interrupt=self.interrupt,
        )

    def _finish(self) -> None:
        if not self.evaluation:
            # The run had finished before.
            self.evaluation = own_names(self.checkpoints.metrics(self.step))
        if not self.evaluation:
            self.evaluate(self.step, self.state)
        self.program.on_finish(self.state, self.files, self.interrupt)
        self.checkpoints.wait()
        if self.files.writes and self.experiment.report is not None:
            self.files.say(f"report: {self.experiment.report(self.directory)}")

    def _stop(self) -> None:
        """Save where the run is, and say how to go on."""
        self.save(self.step, self.state)
        self.checkpoints.wait()
        self.files.say(
            f"stopped and saved at step {self.step} of {self.cadence.total}; the same "
            f"command with --run-dir {self.directory} --resume goes on from there"
        )

    def _announce(self) -> None:
        for line in (*self.program.describe(self.state), *self.data.lines):
            self.files.say(line)
        self.files.say(f"run directory: {self.directory}")
        # A run that was stopped before its first row has the baseline already.
        if (
            self.files.writes
            and self.files.empty
            and (known := self.program.baseline())
        ):
            self.files.row({"step": 0, **known})

    def _log(self, step: int, metrics: dict[str, Any]) -> None:
        if layers := self.program.layers(step, metrics):
            self.files.layers({"step": step, "layers": layers})
        row = {"step": step, **self.program.row(step, metrics)}
        self.files.row(row)
        self.files.show(step, row)

    def _restore(self) -> None:
        """Take the newest checkpoint that is whole, and set newer ones aside."""
        found = restore_newest(
            self.checkpoints, self.state, verbose=self.processes.writes
        )
        if found is None:
            if self.processes.writes:
                warn(f"{self.directory} has no checkpoint yet: it begins anew")
            self.state = self.program.init()
        else:
            self.step, self.state = found[0], self.program.resumed(found[1])
        if self.step and self.checkpoints.metrics(self.step):
            self.evaluated_at = self.step

    def _record_attempt(self) -> None:
        """Note what this start or restart runs on: no number may depend on it."""
        attempt = {
            "step": self.step,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "processes": self.processes.count,
            **self.program.facts(),
            **({"data_change": self.data.change} if self.data.change else {}),
            "environment": environment(),
        }
        append_row(self.directory / "attempts.jsonl", attempt)

    def _named(self) -> dict[str, float]:
        return {EVALUATION + name: value for name, value in self.evaluation.items()}
