"""Jobs on Apache Beam, on the runner within this process or on any other.

The pipeline is a list of jobs that is read from a file, spread over the workers, and
done one by one. A job carries all that its work needs and leaves its result in files,
so workers share nothing but the file system. Each job is done in a process beside the
worker: one that a damaged file ends is reported, and the worker goes on.
"""

import io
import logging
import pickle
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from experiments.transitive.pool import SingleProcess, Work
from experiments.transitive.progress import Progress
from lars_jax.errors import InputError, naming
from lars_jax.files import replacing
from lars_jax.train import Interrupt, Interrupted

POOL = "pool"
"""The processes of `pool.run_jobs`, without Beam."""

DIRECT = "direct"
"""Beam's runner within this process."""

INSTALL = "pip install -c constraints-beam.txt -e '.[beam]'"


@dataclass(frozen=True)
class Runner:
    """What runs the jobs.

    Attributes:
        name: `pool`, `direct`, or a runner that Beam knows.
        options: flags of Beam.
    """

    name: str = POOL
    options: tuple[str, ...] = ()


WITHOUT_BEAM = Runner()
"""The pool."""


def choose_runner(name: str | None = None, options: str = "") -> Runner:
    """Return the runner of a name, which can run.

    Args:
        name: of `Runner`; None: `direct` where Beam is installed, `pool` elsewhere.
        options: flags of Beam, as a shell takes them.

    Raises:
        InputError: no such runner, Beam is not installed, or flags that it refuses.

    >>> choose_runner("pool")
    Runner(name='pool', options=())
    >>> choose_runner("pool", "--parallelism=8")
    Traceback (most recent call last):
    lars_jax.errors.InputError: options of a runner are Beam's; got --parallelism=8 \
for the pool: leave them out, or name a runner of Beam
    """
    if name is None:
        name = POOL if find_spec("apache_beam") is None else DIRECT
    if name == POOL:
        if options:
            raise InputError(
                f"options of a runner are Beam's; got {options} for the pool: leave "
                "them out, or name a runner of Beam"
            )
        return WITHOUT_BEAM
    try:
        runner = Runner(name, tuple(shlex.split(options)))
    except ValueError as error:
        raise InputError(
            f"options of a runner must be words of a shell; got {options!r} ({error}): "
            "close the quotation"
        ) from error
    with _quiet():
        _require_options(runner)
        _pipeline(runner, 1)
    return runner


def run_on_beam(
    work: Work[Any, Any],
    jobs: Sequence[Any],
    listing: Path,
    *,
    runner: Runner,
    processes: int,
    interrupt: Interrupt,
    crashed: Callable[[Any], Any],
    title: str,
    amount: Callable[[Any], int] = lambda result: 1,
) -> None:
    """Do every job on Beam; results are what the jobs write.

    Args:
        work: does a job, any number of times to the same files: runners repeat what
            was lost.
        jobs: its arguments, of types that can be pickled.
        listing: file that the jobs are written to, for workers to read.
        runner: which.
        processes: how many work at a time on the runner within this process.
        interrupt: ends the work on a signal.
        crashed: is called with a job that ended its process, as damaged files may.
        title: what the progress and the step are called.
        amount: how many frames a result stands for.

    Raises:
        InputError: files cannot be written, or the runner has given up.
        Interrupted: a signal came.
    """
    global _here
    with replacing(listing) as temporary:
        temporary.write_bytes(pickle.dumps(list(jobs)))
    with _quiet(), Progress(len(jobs), title, "frame") as progress:
        _here = here = _Here(interrupt, progress, amount)
        beam, pipeline = _beam(), _pipeline(runner, processes)
        # Jobs are no part of the graph, whose size some runners limit.
        found = pipeline | "list" >> beam.Create([str(listing)])
        found = found | "jobs" >> beam.FlatMap(_read_jobs) | beam.Reshuffle()
        _ = found | title >> beam.Map(_do, work, crashed)
        try:
            _wait(interrupt.run(pipeline.run), interrupt)
        except Interrupted:
            raise
        except Exception as error:
            raise here.error or _explained(error, runner) from error
        finally:
            while _idle:
                _idle.pop().close()


def _wait(result: Any, interrupt: Interrupt) -> None:
    terminal = import_module("apache_beam.runners.runner").PipelineState.is_terminal

    def states() -> Iterator[str]:
        while not terminal(state := result.state):
            yield state
            time.sleep(0.5)

    try:
        for _ in interrupt.each(states()):
            pass
    except Interrupted:
        result.cancel()
        raise
    result.wait_until_finish()


@dataclass
class _Here:
    """What those workers share that are threads of the process of the pipeline."""

    interrupt: Interrupt
    progress: Progress
    amount: Callable[[Any], int]
    error: Exception | None = None

    def check(self) -> None:
        self.interrupt.check()
        if self.error is not None:
            # Beam would let the others finish first, and a full disk stays full.
            raise self.error


# Elsewhere, where a runner has workers of its own, it stays None.
_here: _Here | None = None
_counting = Lock()
_idle: list[SingleProcess] = []


def _read_jobs(listing: str) -> list[Any]:
    with naming(listing, "read"):
        return pickle.loads(Path(listing).read_bytes())


def _do(job: Any, work: Any, crashed: Any) -> None:
    """Do a job in a process that no other thread uses."""
    here = _here
    try:
        process = _idle.pop()
    except IndexError:
        process = SingleProcess()
    try:
        result = process.run(work, job, here.check if here else _go_on, crashed)
    except Exception as error:
        if here is not None:
            here.error = here.error or error
        raise
    finally:
        _idle.append(process)
    if here is not None:
        with _counting:
            here.progress.add(here.amount(result))


def _go_on() -> None:
    """Let the runner end a worker that it has started."""


def _explained(error: Exception, runner: Runner) -> Exception:
    """Return the error that a worker has met, which Beam passes on as a text."""
    known = re.search(r"\b(?:Input|File)Error: (.+)", str(error))
    if known:
        return InputError(known[1].split(" [while running")[0])
    if runner.name == DIRECT or "Traceback" in str(error):
        return error  # A defect, which keeps its traceback.
    return InputError(
        f"a runner must do every job; {runner.name} gave up ({_line(error)}): put that "
        "right, then run the command again"
    )


def _beam() -> Any:
    try:
        return import_module("apache_beam")
    except ImportError as error:
        raise InputError(
            f"Beam runs the jobs of every runner but pool; it is not installed "
            f"({error}): {INSTALL}"
        ) from error


def _pipeline(runner: Runner, processes: int) -> Any:
    """Return a pipeline with nothing in it, once its runner takes its options."""
    beam = _beam()
    runners = import_module("apache_beam.runners.runner")
    # Not `DirectRunner`, which fetches another one from the network and tries it.
    name = "FnApiRunner" if runner.name == DIRECT else runner.name
    try:
        found = runners.create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"a runner must be {POOL}, {DIRECT}, flink, spark, dataflow, portable or "
            f"another that Beam knows; got {name!r} ({_line(error)}): choose one"
        ) from error
    try:
        return beam.Pipeline(runner=found, options=_options(runner, processes))
    except ValueError as error:
        raise InputError(
            f"a runner must have the options that it needs; {name} says "
            f"({_line(error)}): name them in --runner-options"
        ) from error


def _line(error: Exception) -> str:
    words = str(error).partition(". ")[0].split() or [type(error).__name__]
    return " ".join(words)[:300]


def _options(runner: Runner, processes: int) -> Any:
    _beam()
    # In memory its workers are threads, which wait for the processes beside them; so a
    # signal reaches all, and no port is opened, as other modes do to every network.
    own = ["--direct_running_mode=in_memory", f"--direct_num_workers={processes}"]
    flags = [*(own if runner.name == DIRECT else ()), *runner.options]
    module = import_module("apache_beam.options.pipeline_options")
    return module.PipelineOptions(flags)


def _require_options(runner: Runner) -> None:
    said = io.StringIO()
    why = ""
    try:
        with redirect_stderr(said), redirect_stdout(said):
            options = _options(runner, 1)
            known = options.get_all_options()
            every = options.get_all_options(retain_unknown_options=True)
        unknown = [f"--{name}" for name in every if name not in known]
        # Those of another runner may be known where its jobs are taken.
        if unknown and runner.name == DIRECT:
            why = f"unknown {', '.join(unknown)}"
    except SystemExit:
        why = said.getvalue().strip().rpartition("error: ")[2].splitlines()[0]
    if why:
        raise InputError(
            f"options of a runner must be flags of Beam; got {runner.options} "
            f"({why}): correct them"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from standard error what Beam logs, even while it is imported."""
    logger = logging.getLogger("apache_beam")
    # Forever, as threads that a signal left behind are to stay silent, too.
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
