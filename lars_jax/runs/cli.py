"""The command line of every experiment: `python -m experiments.NAME VERB ...`."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from lars_jax.errors import InputError
from lars_jax.runs.arguments import parse, split_preset
from lars_jax.runs.checks import BoundedFloat
from lars_jax.runs.directory import Resume, run_directory
from lars_jax.runs.ending import run_among, status_of
from lars_jax.runs.experiment import Experiment, Verb
from lars_jax.runs.paths import absolute_paths
from lars_jax.runs.presets import Preset, find_preset, heading, overview
from lars_jax.train.cluster import Method, find_cluster
from lars_jax.train.processes import join

C = TypeVar("C")

RunDirectory = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
File = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
Checkpoint = Literal["last", "best"]


@dataclass(frozen=True)
class Train(Generic[C]):
    """Train a preset, with any field changed."""

    config: Annotated[C, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Where the run is written; a dated directory under runs/ where left out."""
    resume: bool = False
    """Go on from the last checkpoint in --run-dir."""
    resume_if_any: bool = False
    """Go on if --run-dir holds a run, else begin: one command to start and restart."""
    accept_data_change: bool = False
    """Go on though the run began with other data; its record says so."""
    grace: BoundedFloat = 25.0
    """Seconds after a signal in which a step must end, or the process ends unsaved."""
    processes: Method = "auto"
    """Where to look for the other processes of the run; none: it is alone."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where the environment does not tell."""
    num_processes: int | None = None
    """Number of processes, where the environment does not tell."""
    process_id: int | None = None
    """Place of this process among them, from 0, where the environment does not tell."""

    @property
    def resumes(self) -> Resume:
        """What to do with a run that is in the directory already."""
        if self.resume_if_any:
            return "if_any"
        return "yes" if self.resume else "no"


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a command that reads a run is told of it."""

    checkpoint: Checkpoint = "last"
    """The last state of the run, or the one that evaluated best."""
    accept_data_change: bool = False
    """Take the data as they are, though the run began with others."""
    data_at: Path | None = None
    """Where its data lie now: a folder of images, or of TFDS's data sets."""

    @property
    def options(self) -> dict[str, Any]:
        """What `lars_jax.runs.restore.restore` is told."""
        names = ("accept_data_change", "data_at")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Evaluate(ReadOptions):
    """Evaluate a checkpoint of a run."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""


@dataclass(frozen=True)
class Export(ReadOptions):
    """Write the weights of a run to a plain file, which --init-from reads."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""
    file: File
    """File to write, named *.npz or *.safetensors."""


@dataclass(frozen=True)
class Report:
    """Write the report from the files of a run, finished or not."""

    run_dir: RunDirectory
    """Directory that `train` wrote."""


@dataclass(frozen=True)
class List:
    """List the presets and what each reproduces."""


@dataclass(frozen=True)
class Show(Generic[C]):
    """Describe a preset without running it."""

    config: Annotated[C, tyro.conf.arg(name="")]
    topology: str | None = None
    """Devices whose compiler is asked as well, as `compile` does: h100, v5e:16x16."""


def main(experiment: Experiment[Any], words: Sequence[str] | None = None) -> int:
    """Run one verb of an experiment and return the exit status.

    Except for 0, a line on standard error says why; see `lars_jax.runs.ending`.

    Args:
        experiment: whose verbs.
        words: verb and arguments; those of this process where None.
    """
    for name in ("stdout", "stderr"):
        # Closed by whoever called; a run goes on though nobody listens.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    words = list(sys.argv[1:] if words is None else words)
    return status_of(lambda: _main(experiment, words))


def _main(experiment: Experiment[Any], words: list[str]) -> int:
    verbs = _verbs(experiment)
    if not words or words[0] in ("-h", "--help"):
        print(_usage(experiment, verbs), end="")
        return 0 if words else 2
    if words[0] not in verbs:
        raise InputError(
            f"the verb must be one of {', '.join(verbs)}; got {words[0]!r}: see "
            f"{experiment.command} --help"
        )
    return verbs[words[0]].run(experiment, words[1:])


def parse_preset(
    experiment: Experiment[Any], kind: Any, verb: str, words: Sequence[str]
) -> tuple[Preset[Any], Any]:
    """Return the preset that words begin with, and the typed arguments after it.

    Args:
        experiment: whose presets.
        kind: a dataclass with the field `config`.
        verb: for the help.
        words: what follows the verb.

    Raises:
        InputError: an unknown preset or word.
    """
    name, rest = split_preset(words, experiment.presets, experiment.default)
    preset = find_preset(name, experiment.presets)
    prog = f"{experiment.command} {verb} [PRESET]"
    default = kind(config=preset.config)
    return preset, parse(kind, rest, prog=prog, default=default)


def _verbs(experiment: Experiment[Any]) -> dict[str, Verb]:
    """Return the verbs of an experiment, those that all have before its own."""
    fields_ = "[PRESET] [--field value ...]"
    default = f"PRESET is {experiment.default} where left out"

    verbs = {
        "train": Verb(fields_, f"train; {default}", _train),
        "eval": Verb("RUN_DIR", "evaluate a checkpoint of a run", _evaluate),
        "export": Verb(
            "RUN_DIR FILE", "write its weights as .npz or .safetensors", _export
        ),
        "report": Verb("RUN_DIR", "write its report again", _report),
        "list": Verb("", "the presets and what each reproduces", _list),
        "show": Verb(fields_, "settings and sizes, without running", _show),
        "compile": Verb(
            "[PRESET] [--topology v5e:16x16] [--field value ...]",
            "what a step costs on devices that are not here",
            _compile,
        ),
    }
    if experiment.build is None:
        for name in ("train", "eval", "export"):
            del verbs[name]
    if experiment.report is None:
        del verbs["report"]
    if experiment.show is None:
        del verbs["show"]
    if experiment.compile is None:
        del verbs["compile"]
    own = dict(experiment.verbs)
    return verbs | own if experiment.build else own | verbs


def _usage(experiment: Experiment[Any], verbs: Mapping[str, Verb]) -> str:
    rows = [(f"{name} {verb.usage}", verb.summary) for name, verb in verbs.items()]
    width = max(len(words) for words, _ in rows)
    lines = "\n".join(f"  {words:{width}}  {summary}" for words, summary in rows)
    first = next(iter(verbs))
    return (
        f"usage: {experiment.command} VERB ...\n\n{experiment.summary}\n\nverbs:\n"
        f"{lines}\n\nEvery verb takes --help. `{experiment.command} {first} --help` "
        "lists\nevery field of a configuration with its type, default and meaning.\n"
    )


def _train(experiment: Experiment[Any], words: list[str]) -> int:
    # Whoever asks for help, a list or a report need not wait for Orbax.
    from lars_jax.runs.train import train

    kind = Train[experiment.config]
    preset, asked = parse_preset(experiment, kind, "train", words)
    if asked.resume and asked.resume_if_any:
        raise InputError(
            "--resume needs a run and --resume-if-any does not; got both: leave one out"
        )
    if asked.run_dir is None and asked.resumes != "no":
        raise InputError(
            "--resume needs a run to go on with; got no --run-dir: name its directory"
        )
    names = ("coordinator", "num_processes", "process_id")
    told = {name: getattr(asked, name) for name in names}
    processes = join(find_cluster(os.environ, method=asked.processes, **told))

    def run() -> int:
        with run_directory(asked.run_dir, preset.name) as directory:
            return train(
                experiment,
                asked.config,
                directory,
                name=preset.name,
                resume=asked.resumes,
                processes=processes,
                grace=asked.grace,
                accept_data_change=asked.accept_data_change,
            ).status

    return run() if processes.alone else run_among(processes, run)


def _evaluate(experiment: Experiment[Any], words: list[str]) -> int:
    from lars_jax.runs.restore import restore
    from lars_jax.train import Interrupt

    kind = experiment.evaluate_flags or Evaluate
    asked = parse(kind, words, prog=f"{experiment.command} eval")
    own = {field.name for field in fields(kind)}
    own -= {field.name for field in fields(Evaluate)}
    changes = {name: getattr(asked, name) for name in own}
    given = {name: value for name, value in changes.items() if value is not None}
    options = asked.options | given
    found = restore(experiment, asked.run_dir, asked.checkpoint, **options)
    for line in found.program.describe_evaluation():
        print(line)
    evaluation = found.program.evaluate(found.state, Interrupt())
    print(f"step {found.step}: {found.program.format_evaluation(evaluation)}")
    return 0


def _export(experiment: Experiment[Any], words: list[str]) -> int:
    from lars_jax.runs.restore import export

    asked = parse(Export, words, prog=f"{experiment.command} export")
    place, which = asked.file, asked.checkpoint
    step = export(experiment, asked.run_dir, place, which, **asked.options)
    print(f"weights after step {step}: {asked.file}")
    return 0


def _report(experiment: Experiment[Any], words: list[str]) -> int:
    from lars_jax.runs.data import warn_of_change
    from lars_jax.runs.restore import load_config

    asked = parse(Report, words, prog=f"{experiment.command} report")
    load_config(experiment, asked.run_dir)  # What is no run of this is refused.
    warn_of_change(experiment, asked.run_dir)
    assert experiment.report is not None, "there is no such verb without it"
    print(experiment.report(asked.run_dir))
    return 0


def _list(experiment: Experiment[Any], words: list[str]) -> int:
    parse(List, words, prog=f"{experiment.command} list")
    print("\n".join(overview(experiment.presets)))
    return 0


def _show(experiment: Experiment[Any], words: list[str]) -> int:
    kind = Show[experiment.config]
    preset, asked = parse_preset(experiment, kind, "show", words)
    assert experiment.show is not None, "there is no such verb without it"
    lines = experiment.show(experiment.check(absolute_paths(asked.config)))
    print("\n".join([*heading(preset), *lines]), flush=True)
    if asked.topology is None:
        return 0
    if experiment.compile is None:
        raise InputError(
            f"--topology needs steps that compile ahead of time; {experiment.command} "
            "has none: leave it out"
        )
    from lars_jax.runs.compile import Compile, compile_preset

    compiled = Compile(asked.config, asked.topology)
    return compile_preset(experiment, None, compiled, words)


def _compile(experiment: Experiment[Any], words: list[str]) -> int:
    # Whoever asks for help or a list need not wait for compilers.
    from lars_jax.runs.compile import Compile, compile_preset

    kind = Compile[experiment.config]
    preset, asked = parse_preset(experiment, kind, "compile", words)
    return compile_preset(experiment, preset, asked, words)
